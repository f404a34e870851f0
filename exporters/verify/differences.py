"""How far two models' outputs are apart, on inputs that are made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.feeds import NOT_IDS, build_feeds, fill_cache, lay_out, text_shape
from toolkit.bundle.tensors import TensorInfo, describe
from toolkit.errors import LightTokenError
from toolkit.ort import cpu_session

_FEW = 1e-3  # of outputs, that may differ by a step where activations are rounded
_SHAPES = ((1, 8), (3, 21))  # batch and length; neither is what the exporters trace with
_MASK = "attention_mask"
_BRANCH = "use_cache_branch"  # chooses one of the two decoders that optimum merges


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
    """
    sessions = [cpu_session(path) for path in (left, right)]
    inputs = describe(sessions[0].get_inputs())
    names = [info.name for info in sessions[1].get_outputs()]
    rng = np.random.default_rng(0)
    found = Difference()
    for number, free in enumerate(shapes):
        drawn = {
            info.name: rng.integers(0, rows[info.name], text_shape(info, free))
            for info in sorted(inputs, key=lambda info: info.name != ids_input)
            if info.name == ids_input or (info.name in rows and _is_text(info))
        }
        # One may take int32 where the other takes int64.
        outputs = []
        for session in sessions:
            feeds = _feeds(describe(session.get_inputs()), ids_input, drawn)
            if _BRANCH in feeds:
                feeds[_BRANCH][:] = number % 2
            _pad(feeds)
            if cached:
                fill_cache(feeds, cached)
            outputs.append(session.run(names, feeds))
        mask = next((m for n, m in feeds.items() if n.endswith(_MASK) and m.ndim == 2), None)
        for a, b in zip(*outputs, strict=True):
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


def _is_text(info: TensorInfo) -> bool:
    """Whether ids of tokens may go there, and not types or positions, which are made up alike."""
    return info.name not in NOT_IDS and len(info.shape) > 0


def _feeds(
    inputs: Sequence[TensorInfo], ids_input: str, drawn: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[Any]]:
    """Made up feeds with the ids that were ``drawn``, for inputs that tables are looked up by."""
    feeds = build_feeds(inputs, ids_input, drawn[ids_input])
    for info in inputs:
        if info.name in drawn:
            feeds[info.name] = lay_out(info, drawn[info.name]).astype(feeds[info.name].dtype)
    return feeds


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
