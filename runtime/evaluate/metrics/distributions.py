"""Distributions over tokens, labels or places, from logits: how near two of them are."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Logits = NDArray[np.floating]

TOP = 5
"""How many of the likeliest entries are compared."""
_BLOCK_BYTES = 4e6  # of float64 logits at once, to stay in the cache; two rows of 250,000


def compare(original: Logits, other: Logits) -> tuple[Float64, Float64, Float64]:
    """Logits [n, V] of both -> float64 [n] thrice.

    Whether the likeliest token is the same (0 or 1), the share of the original's five likeliest
    that are among the other's, and the divergence of the other from the original in nats.
    """
    n, width = original.shape
    first, five, divergence = np.empty(n), np.empty(n), np.empty(n)
    top = min(TOP, width)
    for some in blocks(original):
        a, b = original[some], other[some]
        first[some] = a.argmax(-1) == b.argmax(-1)
        best_a, best_b = (np.argpartition(each, width - top, -1)[:, -top:] for each in (a, b))
        five[some] = (best_a[:, :, None] == best_b[:, None, :]).any(-1).mean(-1)
        p, q = log_shares(a), log_shares(b)
        # A token that the original rules out counts for nothing, whatever the other says.
        gap = np.subtract(p, q, out=np.zeros_like(p), where=np.isfinite(p))
        divergence[some] = (np.exp(p) * gap).sum(-1)
    return first, five, divergence


def blocks(logits: NDArray[np.floating]) -> Iterator[slice]:
    """Rows of ``logits`` [n, V] that may be widened to float64 together."""
    rows, width = logits.shape
    step = max(1, int(_BLOCK_BYTES / (8 * width)))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def log_shares(logits: NDArray[np.floating]) -> Float64:
    """Logarithms of the softmax along the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide
