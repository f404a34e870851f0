"""One vector of a text's token vectors."""

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

Float32 = NDArray[np.float32]

MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
"""As sentence-transformers calls them; several are joined in this order, as ``cls+mean``."""
_TINY = 1e-12  # shortest length that is divided by


def check_pooling(pooling: Pooling) -> None:
    """Raise InputError for a mode that this version does not know."""
    if not set(pooling.modes) <= set(MODES):
        raise InputError(f"pooling {pooling.mode!r} is unknown; use {', '.join(MODES)}")


def pool(states: Float32, mask: NDArray[np.int64], pooling: Pooling) -> Float32:
    """``states`` float32 [n, length, d] over ``mask`` int64 [n, length] -> float32 [n, d].

    Of several modes the vectors are joined, [n, modes * d]. Padding never counts, whatever it
    holds; a text without any token gives zeros.
    """
    real = mask.astype(bool)
    pooled = np.concatenate([_pool(states, real, mode) for mode in pooling.modes], axis=1)
    return finish(np.where(real.any(axis=1, keepdims=True), pooled, 0), pooling)


def _pool(states: Float32, real: NDArray[np.bool_], mode: str) -> NDArray[np.floating]:
    """By one mode, [n, d]; anything for a text without a token."""
    if mode == "cls":
        return states[:, 0]
    if mode == "max":
        return np.where(real[:, :, None], states, -np.inf).max(axis=1)
    places = np.arange(1, real.shape[1] + 1)
    if mode == "lasttoken":
        last = np.where(real, places, 1).max(axis=1) - 1
        return states[np.arange(len(states)), last]
    weights = (real * (places if mode == "weightedmean" else 1)).astype(np.float32)
    tokens = np.where(real[:, :, None], states, 0) * weights[:, :, None]
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    sums: Float32 = tokens.sum(axis=1, dtype=np.float32)
    return sums / (np.sqrt(total) if mode == "mean_sqrt_len" else total)


def finish(pooled: NDArray[np.floating], pooling: Pooling) -> Float32:
    """Bring pooled vectors [n, d] to unit length if the model does so."""
    vectors = pooled.astype(np.float32)
    if pooling.normalize:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
    return vectors
