"""Feeds made up for a transformer's graph: to compare graphs with one another, and to time them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .tensors import TensorInfo

Array = NDArray[Any]
Int64 = NDArray[np.int64]

_SAFE_ROWS = 1000  # ids below it are valid in any real vocabulary
_MASKS = ("attention_mask", "encoder_attention_mask")
NOT_IDS = ("attention_mask", "token_type_ids", "position_ids")
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


def build_feeds(
    inputs: Sequence[TensorInfo],
    ids_input: str | None,
    ids: Int64,
    decoder_ids: Int64 | None = None,
) -> dict[str, Array]:
    """``ids`` int64 [batch, length] with full masks, zero types, increasing positions, no cache.

    Symbolic dimensions of the graph's ``inputs`` become batch and length; those of a cache 0, but
    a cache of what an encoder gave is as long as the encoder's mask. ``decoder_ids`` int64
    [batch, length] go to an input :data:`DECODER_IDS`; without them it gets zeros.

    Raises:
        InputError: the graph fixes another batch or length, or an input's type has no numpy
            equivalent.
    """
    batch, length = ids.shape
    feeds: dict[str, Array] = {}
    for info in inputs:
        shape = _shape(info, batch, length)
        if info.name == ids_input:
            _check_fixed(info, shape, batch, length)
            values: Array = ids
        elif info.name == DECODER_IDS and decoder_ids is not None:
            _check_fixed(info, shape, batch, length)
            values = decoder_ids
        elif info.name in _MASKS:
            values = np.ones(shape)
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


def free_dimensions(inputs: Sequence[TensorInfo], batch: int, length: int) -> dict[str, int]:
    """Sizes of the symbolic dimensions of ``inputs``, by name, as :func:`build_feeds` has them."""
    return {
        size: _free(info.name, axis, size, batch, length)
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


def _shape(info: TensorInfo, batch: int, length: int) -> tuple[int, ...]:
    return tuple(
        size if isinstance(size, int) else _free(info.name, axis, size, batch, length)
        for axis, size in enumerate(info.shape)
    )


def _free(name: str, axis: int, size: str | None, batch: int, length: int) -> int:
    """One symbolic or unnamed dimension of an input."""
    if axis == 0:
        return batch
    if is_cache(name):
        return length if ".encoder." in name else 0
    # "past_sequence_length" alone is empty; "past_sequence_length + 1" counts the text as well.
    if size is not None and "past" in size and "+" not in size:
        return 0
    return length


def is_cache(name: str) -> bool:
    """Whether an input carries keys and values of the tokens before."""
    return name.startswith("past") or "cache" in name


def _check_fixed(info: TensorInfo, shape: tuple[int, ...], batch: int, length: int) -> None:
    for fixed, asked, what in zip(shape, (batch, length), ("texts", "tokens"), strict=False):
        if fixed != asked:
            raise InputError(
                f"input {info.name!r} takes exactly {fixed} {what}, asked for {asked}; use {fixed}"
            )
