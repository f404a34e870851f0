"""Feeds made up for a transformer's graph: to compare graphs with one another, and to time them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .tensors import TensorInfo

Array = NDArray[Any]
Int64 = NDArray[np.int64]

_SAFE_ROWS = 1000  # ids below it are valid in any real vocabulary
_CHOICES = 2  # of ids [batch, choices, length], where the graph leaves their number open
_MASKS = ("attention_mask", "encoder_attention_mask")
NOT_IDS = ("attention_mask", "token_type_ids", "position_ids")
_IMAGE = (1, 3, 224, 224)  # sizes of an image [batch, channels, height, width] that are free
LOGITS_TO_KEEP = "num_logits_to_keep"  # input of decoders: how many of the last, 0 for all
DECODER_IDS = "decoder_input_ids"  # what an encoder-decoder has beside the encoder's ids


def draw_ids(rng: np.random.Generator, batch: int, length: int, rows: int | None) -> Int64:
    """Token ids int64 [batch, length] in 1 .. rows - 1, id k as often as 1 / k.

    That is about how text uses a vocabulary whose frequent tokens come first, and it decides how
    much of a memory-mapped table is ever read. ``rows`` None stands for an unknown vocabulary of
    at least 1000.
    """
    rows = rows or _SAFE_ROWS
    powers = rng.uniform(0.0, np.log(max(rows, 2)), (batch, length))
    return np.minimum(np.exp(powers).astype(np.int64), rows - 1)


def find_ids_input(inputs: Sequence[TensorInfo]) -> str | None:
    """The input that carries token ids: by its name, else the first of integers that may be it."""
    if any(info.name == "input_ids" for info in inputs):
        return "input_ids"
    for info in inputs:
        if info.dtype in ("int32", "int64") and info.name not in NOT_IDS:
            return info.name
    return None


def text_shape(info: TensorInfo, free: tuple[int, int]) -> tuple[int, int]:
    """Batch and length of ids that an input takes: as it fixes them, else ``free``.

    Raises:
        InputError: the input is a single number.
    """
    batch, length = free
    if not info.shape:
        raise InputError(f"input {info.name!r} is a single number; ids need a dimension at least")
    last = info.shape[-1]
    if len(info.shape) == 1:  # of one text, where the graph fixes their number
        return (1, last) if isinstance(last, int) else free
    first = info.shape[0]
    return (
        first if isinstance(first, int) else batch,
        last if isinstance(last, int) else length,
    )


def lay_out(info: TensorInfo, ids: Int64) -> Int64:
    """``ids`` int64 [batch, length] in the rank that an input declares.

    Of rank 1 the texts follow one another; of rank 3 and more each text comes several times, its
    tokens shifted.

    Raises:
        InputError: the graph fixes another batch or length.
    """
    if len(info.shape) == 2:
        _check_fixed(info, ids.shape)
        return ids
    if len(info.shape) < 2:
        flat = ids.reshape(-1)
        _check_fixed(info, flat.shape)
        return flat
    batch, length = ids.shape
    between = [size if isinstance(size, int) else _CHOICES for size in info.shape[1:-1]]
    shifted = [np.roll(ids, number, axis=1) for number in range(int(np.prod(between)))]
    several = np.stack(shifted, axis=1).reshape(batch, *between, length)
    _check_fixed(info, several.shape)
    return several


def build_feeds(
    inputs: Sequence[TensorInfo],
    ids_input: str | None,
    ids: Int64,
    decoder_ids: Int64 | None = None,
) -> dict[str, Array]:
    """``ids`` int64 [batch, length] with full masks, zero types, increasing positions, no cache.

    Ids are laid out as :func:`lay_out` says; to flat ones belong offsets, where each text starts.
    Symbolic dimensions of the graph's ``inputs`` become batch and length, or the size that the
    dimension of this name has in the ids; those of a cache 0, but a cache of what an encoder gave
    is as long as the encoder's mask. ``decoder_ids`` int64 [batch, length] go to an input
    :data:`DECODER_IDS`; without them it gets zeros.

    Raises:
        InputError: the graph fixes another batch or length, or an input's type has no numpy
            equivalent.
    """
    sizes = _Sizes.of(inputs, ids_input, ids)
    feeds: dict[str, Array] = {}
    for info in inputs:
        shape = sizes.shape(info)
        if info.name == ids_input:
            values: Array = lay_out(info, ids)
        elif info.name == DECODER_IDS and decoder_ids is not None:
            values = lay_out(info, decoder_ids)
        elif info.name in _MASKS:
            values = np.ones(shape)
        elif sizes.flat and _is_offsets(info):
            values = np.linspace(0, ids.size, shape[0], endpoint=False).astype(np.int64)
        elif info.name == "position_ids":
            values = np.broadcast_to(np.arange(shape[-1]), shape)
        else:
            values = np.zeros(shape)
        feeds[info.name] = np.ascontiguousarray(values, dtype=_dtype(info))
    return feeds


def fill_cache(feeds: dict[str, Array], tokens: int, seed: int = 0) -> None:
    """Let ``tokens`` stand before a text's in made up ``feeds``, with keys and values at random.

    Keys and values [batch, heads, 0, size] grow, masks and positions with them; in place.
    """
    rng = np.random.default_rng(seed)
    for name, values in feeds.items():
        if is_cache(name) and values.ndim == 4:
            shape = (*values.shape[:2], tokens, values.shape[3])
            feeds[name] = rng.normal(size=shape).astype(values.dtype)
        elif name == "position_ids":
            feeds[name] = values + values.dtype.type(tokens)
        elif name in _MASKS and values.ndim == 2:
            before = np.ones((len(values), tokens), values.dtype)
            feeds[name] = np.concatenate([before, values], axis=1)


def free_dimensions(
    inputs: Sequence[TensorInfo], batch: int, length: int, ids_input: str | None = None
) -> dict[str, int]:
    """Sizes of the symbolic dimensions of ``inputs``, by name, as :func:`build_feeds` has them."""
    sizes = _Sizes.of(inputs, ids_input, np.zeros((batch, length), np.int64))
    return {
        size: sizes.free(info, axis)
        for info in inputs
        for axis, size in enumerate(info.shape)
        if isinstance(size, str)
    }


def _dtype(info: TensorInfo) -> np.dtype[np.generic]:
    if info.numpy_dtype is None:
        raise InputError(
            f"input {info.name!r} has type {info.dtype}, which cannot be made up; "
            "give a model with numeric inputs"
        )
    return info.numpy_dtype


@dataclass(frozen=True)
class _Sizes:
    """What a call's symbolic dimensions become; ``ids`` are the sizes of its ids."""

    batch: int
    length: int
    ids: tuple[int, ...]
    named: Mapping[str, int]

    @classmethod
    def of(cls, inputs: Sequence[TensorInfo], ids_input: str | None, ids: Int64) -> "_Sizes":
        batch, length = ids.shape
        info = next((info for info in inputs if info.name == ids_input), None)
        if info is None or not info.shape or len(info.shape) == 2:  # names may be anything there
            return cls(batch, length, (batch, length), {})
        laid = lay_out(info, ids).shape
        pairs = zip(info.shape, laid, strict=True)
        return cls(batch, length, laid, {n: size for n, size in pairs if isinstance(n, str)})

    @property
    def flat(self) -> bool:
        """Whether the ids of all texts stand in one row."""
        return len(self.ids) == 1

    def shape(self, info: TensorInfo) -> tuple[int, ...]:
        """Of one input."""
        return tuple(
            size if isinstance(size, int) else self.free(info, axis)
            for axis, size in enumerate(info.shape)
        )

    def free(self, info: TensorInfo, axis: int) -> int:
        """One symbolic or unnamed dimension of an input."""
        size = info.shape[axis]
        if isinstance(size, str) and size in self.named:
            return self.named[size]
        if self.flat and len(info.shape) == 1 and info.name in (*_MASKS, *NOT_IDS):
            return self.ids[0]
        if axis == 0:
            return self.batch
        if len(self.ids) > 2 and len(info.shape) == len(self.ids):
            return self.ids[axis]
        if is_cache(info.name):
            return self.length if ".encoder." in info.name else 0
        # "past_sequence_length" alone is empty; "past_sequence_length + 1" counts the text as well.
        if isinstance(size, str) and "past" in size and "+" not in size:
            return 0
        if len(info.shape) == len(_IMAGE) and info.dtype.startswith(("float", "bfloat")):
            return _IMAGE[axis]
        return self.length


def _is_offsets(info: TensorInfo) -> bool:
    """Whether it says where in flat ids each text starts."""
    return "offset" in info.name and len(info.shape) == 1 and "int" in info.dtype


def is_cache(name: str) -> bool:
    """Whether an input carries keys and values of the tokens before."""
    return name.startswith("past") or "cache" in name


def _check_fixed(info: TensorInfo, asked: tuple[int, ...]) -> None:
    whats = ("texts", *["choices"] * (len(asked) - 2), "tokens")[-len(asked) :]
    for fixed, size, what in zip(info.shape, asked, whats, strict=True):
        if isinstance(fixed, int) and fixed != size:
            raise InputError(
                f"input {info.name!r} takes exactly {fixed} {what}, asked for {size}; use {fixed}"
            )
