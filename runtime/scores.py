"""Logits to probabilities."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def softmax(logits: NDArray[np.floating]) -> Float64:
    """Along the last axis, in float64."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.floating]) -> Float64:
    """Of each element, in float64, without overflow."""
    halves = np.tanh(0.5 * logits.astype(np.float64))
    return 0.5 * (1.0 + halves)
