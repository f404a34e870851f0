"""One vector of a text's token vectors."""

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

Float32 = NDArray[np.float32]

MODES = ("mean", "cls", "max")
_TINY = 1e-12  # shortest length that is divided by


def check_pooling(pooling: Pooling) -> None:
    """Raise InputError for a mode that this version does not know."""
    if pooling.mode not in MODES:
        raise InputError(f"pooling {pooling.mode!r} is unknown; use {', '.join(MODES)}")


def pool(states: Float32, mask: NDArray[np.int64], pooling: Pooling) -> Float32:
    """``states`` float32 [n, length, d] over ``mask`` int64 [n, length] -> float32 [n, d].

    Padding never counts, whatever it holds; a text without any token gives zeros.
    """
    real = mask.astype(bool)[:, :, None]
    if pooling.mode == "mean":
        sums = np.where(real, states, 0).sum(axis=1, dtype=np.float32)
        pooled = sums / np.maximum(real.sum(axis=1), 1)
    elif pooling.mode == "max":
        pooled = np.where(real, states, -np.inf).max(axis=1)
    else:
        pooled = states[:, 0]
    pooled = np.where(real.any(axis=1), pooled, 0)
    return finish(pooled, pooling)


def finish(pooled: NDArray[np.floating], pooling: Pooling) -> Float32:
    """Bring pooled vectors [n, d] to unit length if the model does so."""
    vectors = pooled.astype(np.float32)
    if pooling.normalize:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
    return vectors
