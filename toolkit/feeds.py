"""Valid inputs for a transformer's graph, made from its inputs' names, types and shapes alone.

Used to compare graphs with one another and to time them; both sides of the house need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Feeds = dict[str, NDArray[np.generic]]

_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class GraphInput:
    """A graph input: ``dtype`` in onnxruntime's words, ``shape`` with names or None where free."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def make_feeds(
    inputs: Sequence[GraphInput],
    *,
    batch: int,
    length: int,
    rows: int,
    rng: np.random.Generator,
) -> Feeds:
    """One array for each input: random ids below ``rows``, masks of ones, empty KV caches.

    Raises:
        InputError: an input that no rule covers; it is named.
    """
    return {
        entry.name: _feed(entry, batch=batch, length=length, rows=rows, rng=rng) for entry in inputs
    }


def _feed(
    entry: GraphInput, *, batch: int, length: int, rows: int, rng: np.random.Generator
) -> NDArray[np.generic]:
    dtype = _DTYPES.get(entry.dtype)
    if dtype is None:
        raise InputError(f"input {entry.name} has type {entry.dtype}, which no rule here fills")
    name = entry.name.lower()
    if "past" in name or "cache" in name:
        shape = tuple(
            dim if isinstance(dim, int) else (batch if axis == 0 else 0)
            for axis, dim in enumerate(entry.shape)
        )
        return np.zeros(shape, dtype)
    if name == "use_cache_branch":
        return np.zeros(1, dtype)
    if len(entry.shape) == 3 and np.issubdtype(dtype, np.floating):  # hidden states
        width = entry.shape[2] if isinstance(entry.shape[2], int) else 1
        return rng.standard_normal((batch, length, width)).astype(dtype)
    if len(entry.shape) not in (1, 2):
        raise InputError(f"input {entry.name} has shape {entry.shape}, which no rule here fills")
    sizes = (batch, length) if len(entry.shape) == 2 else (length,)
    shape = tuple(
        dim if isinstance(dim, int) else size for dim, size in zip(entry.shape, sizes, strict=True)
    )
    if "mask" in name:
        return np.ones(shape, dtype)
    if "position" in name:
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    return rng.integers(0, rows, shape).astype(dtype)
