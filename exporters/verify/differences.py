"""How far two models' outputs are apart, on inputs that are made up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from toolkit.bundle.feeds import (
    LOGITS_TO_KEEP,
    NOT_IDS,
    build_feeds,
    fill_cache,
    lay_out,
    text_shape,
)
from toolkit.bundle.tensors import TensorInfo, describe
from toolkit.errors import LightTokenError
from toolkit.ort import cpu_session

from ..sources.merged import USE_CACHE
from .samples import Samples, fit_samples

_FEW = 1e-3  # of outputs, that may differ by a step where activations are rounded
_SHAPES = ((1, 8), (3, 21))  # batch and length; neither is what the exporters trace with
_MASK = "attention_mask"
_KNOWN = (*NOT_IDS, LOGITS_TO_KEEP)  # inputs of integers whose zeros mean something
_ENCODED = ("encoder_hidden_states", ".encoder.")  # in names of what an encoder gave


class CheckError(LightTokenError):
    """The exported model is not what it should be; nothing is written."""


@dataclass(frozen=True)
class Difference:
    """Of two models' outputs: the largest, that of all but a few, and the largest output."""

    largest: float = 0.0
    typical: float = 0.0
    scale: float = 0.0


def difference_of(
    left: Path,
    right: Path,
    ids_input: str,
    rows: Mapping[str, int],
    *,
    shapes: Sequence[tuple[int, int]] = _SHAPES,
    cached: int = 0,
    all_tokens: bool = True,
    samples: Samples | None = None,
    options: ort.SessionOptions | None = None,
) -> Difference:
    """Absolute differences of the float outputs of ``right``.

    What ``left`` gives beyond them, pooled vectors, is computed from them.

    Args:
        left: the one that may differ.
        right: the one that it is held to.
        ids_input: of both.
        rows: how many ids an input may carry.
        shapes: of ids.
        cached: tokens in a cache of random numbers before them.
        all_tokens: False leaves out those that a mask calls padding, of which causal models say
            nothing.
        samples: real inputs, in place of all that is made up.
        options: of ``left``'s session.
    """
    other, session = cpu_session(left, options), cpu_session(right)
    names = [info.name for info in session.get_outputs()]
    found = Difference()
    shaped = describe(other.get_inputs())  # of fixed shapes, where the target asks for them
    for call in _calls(session, shaped, ids_input, rows, shapes, cached, samples):
        # One may take int32 where the other takes int64.
        given = other.run(names, call.feeds(shaped))
        feeds = call.feeds(describe(session.get_inputs()))
        mask = next((m for n, m in feeds.items() if n.endswith(_MASK) and m.ndim == 2), None)
        for a, b in zip(given, call.outputs, strict=True):
            if mask is not None and not all_tokens:
                a, b = (_unmasked(each, mask) for each in (a, b))
            if np.issubdtype(a.dtype, np.floating) and a.size:
                differences = np.sort(_differences(a, b), axis=None)
                found = Difference(
                    max(found.largest, float(differences[-1])),
                    max(found.typical, float(differences[-1 - int(_FEW * a.size)])),
                    max(found.scale, max_finite(b)),
                )
    return found


def try_out(
    model: Path, ids_input: str, rows: Mapping[str, int], samples: Samples | None = None
) -> None:
    """Run ``model`` once on the inputs that :func:`difference_of` gives it.

    Raises:
        Exception: onnxruntime's, where it takes none of them.
        InputError: ``samples`` that are not this model's.
    """
    session = cpu_session(model)
    inputs = describe(session.get_inputs())
    for _ in _calls(session, inputs, ids_input, rows, _SHAPES[:1], 0, samples):
        pass


@dataclass(frozen=True, eq=False)
class _Call:
    """What two models are given, and what the one made of it that the other is held to.

    Attributes:
        ids_input: of both.
        drawn: ids of tokens, by input.
        samples: real inputs, in place of all that is made up.
        others: what integer inputs hold that nothing is known of, such as lengths.
        branch: which of two merged decoders is asked.
        cached: tokens in a cache before these.
        outputs: all that the model gave.
    """

    ids_input: str
    drawn: Mapping[str, NDArray[np.int64]]
    samples: Samples | None = None
    others: int = 0
    branch: int = 0
    cached: int = 0
    outputs: tuple[NDArray[Any], ...] = ()

    def feeds(self, inputs: Sequence[TensorInfo]) -> dict[str, NDArray[Any]]:
        """For a model with these ``inputs``."""
        if self.samples is not None:
            added = {info.name: np.zeros((), np.int64) for info in inputs if not info.shape}
            return fit_samples(added | self.samples, inputs)
        feeds = build_feeds(inputs, self.ids_input, self.drawn[self.ids_input])
        for info in inputs:
            if info.name in self.drawn:
                own = lay_out(info, self.drawn[info.name])
                feeds[info.name] = own.astype(feeds[info.name].dtype)
        for name, values in feeds.items() if self.others else ():
            if values.dtype.kind == "i" and not values.any() and name not in _KNOWN:
                values[...] = self.others
        if USE_CACHE in feeds:
            feeds[USE_CACHE][:] = self.branch
        for name, values in feeds.items():
            if values.dtype.kind == "f" and any(part in name for part in _ENCODED):
                draws = np.random.default_rng(crc32(name.encode()))  # the same for both models
                values[...] = draws.normal(size=values.shape)
        _pad(feeds)
        if self.cached:
            fill_cache(feeds, self.cached)
        return feeds


def _calls(
    session: ort.InferenceSession,
    shaped: Sequence[TensorInfo],
    ids_input: str,
    rows: Mapping[str, int],
    shapes: Sequence[tuple[int, int]],
    cached: int,
    samples: Samples | None,
) -> Iterator[_Call]:
    """Calls that the model of ``session`` takes, with what it gives; ids as ``shaped`` wants them.

    Random ids do not suit every model: one adds an offset to them, one wants a token that ends each
    text. So some ways of drawing them are tried, and the error of the first stands if none will do.
    """
    inputs = describe(session.get_inputs())
    rng = np.random.default_rng(0)
    for number, free in enumerate(shapes if samples is None else shapes[:1]):
        drawn = {
            info.name: rng.integers(0, rows[info.name], text_shape(info, free))
            for info in sorted(shaped, key=lambda info: info.name != ids_input)
            if info.name == ids_input or (info.name in rows and _is_text(info))
        }
        call = _Call(ids_input, drawn, samples, number % 2, cached)
        fixed = any(isinstance(info.shape[-1], int) for info in shaped if info.name in drawn)
        refused: Exception | None = None
        for way in _WAYS if samples is None else _WAYS[:1]:
            if way.share > 1 and (fixed or cached):
                continue  # nothing can be left out of these
            ids = {name: way.of(values) for name, values in drawn.items()}
            tried = replace(call, drawn=ids, others=way.others)
            try:
                given = session.run(None, tried.feeds(inputs))
            except Exception as error:
                if not type(error).__module__.startswith("onnxruntime."):
                    raise
                refused = refused or error
                continue
            yield replace(tried, outputs=tuple(given))
            break
        else:
            assert refused is not None
            raise refused


@dataclass(frozen=True)
class _Way:
    """How inputs are made up: ids cut to a share of the rows, or with one that ends each text;
    integers of which nothing is known; texts cut to a share of their length."""

    divisor: int = 1
    end: int | None = None
    others: int = 0
    share: int = 1

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """``ids`` [.., length] so."""
        changed = ids // self.divisor
        if self.share > 1 and changed.ndim:
            changed = changed[..., : -(-changed.shape[-1] // self.share)]
        if self.end is not None and changed.ndim:
            changed[changed == self.end] = 0
            changed[..., -1] = self.end
        return changed


# 2 and 1 end texts in most vocabularies: BART's and Llama's, T5's.
_WAYS = (
    _Way(),
    _Way(end=2),
    _Way(end=1),
    _Way(others=1),
    _Way(divisor=2),
    _Way(divisor=16),
    _Way(divisor=256),
    _Way(share=4),  # a model of few positions
)


def _is_text(info: TensorInfo) -> bool:
    """Whether ids of tokens may go there, and not types or positions, which are made up alike."""
    return info.name not in NOT_IDS and len(info.shape) > 0


def _pad(feeds: Mapping[str, NDArray[np.generic]]) -> None:
    """Of all texts but the first, two thirds become padding: masks have to do their work."""
    for name, mask in feeds.items():
        if name.endswith(_MASK) and mask.ndim in (2, 3):
            mask[1:, ..., -(-mask.shape[-1] // 3) :] = 0


def _unmasked(values: NDArray[Any], mask: NDArray[np.generic]) -> NDArray[Any]:
    """Of outputs [batch, length, ..] or [batch, heads, length, ..] what is not padding."""
    if values.ndim == 4 and values.shape[2] == mask.shape[1]:
        values = values.swapaxes(1, 2)
    length = values.shape[1] if values.ndim > 1 else 0
    if values.ndim < 2 or values.shape[0] != len(mask) or length > mask.shape[1]:
        return values
    own: NDArray[Any] = values[mask[:, mask.shape[1] - length :].astype(bool)]
    return own


def _differences(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Equal infinities agree; NaN counts as infinite, so that it can never pass for agreement."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        differences = np.where(left == right, 0.0, np.abs(left - right))
    return np.where(np.isfinite(differences), differences, np.inf)


def max_difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The largest absolute one; infinite where one of the two is no number."""
    return float(_differences(a, b).max())


def max_finite(values: NDArray[np.floating]) -> float:
    """The largest magnitude among finite values, 0 without any."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
