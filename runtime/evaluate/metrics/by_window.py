"""Values of single tokens, as means over the windows that a bootstrap draws."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Indices, Metric

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_BLOCK_BYTES = 4e6  # of float64 logits at once, to stay in the cache; two rows of 250,000


class ByWindow:
    """Sums and counts of each window, by model."""

    def __init__(self) -> None:
        self._window: dict[str, list[Int64]] = defaultdict(list)
        self._values: dict[str, list[Float64]] = defaultdict(list)

    def add(self, model: str, window: Int64, values: Float64) -> None:
        """``values`` [n] of tokens from the windows of these numbers [n]."""
        self._window[model].append(window)
        self._values[model].append(values)

    @property
    def models(self) -> list[str]:
        """In the order they came."""
        return list(self._values)

    @property
    def count(self) -> int:
        """Windows."""
        every = (part for parts in self._window.values() for part in parts)
        return max((int(part.max()) + 1 for part in every), default=0)

    def mean(self, model: str) -> Metric:
        """The mean over all tokens of the chosen windows."""
        window = np.concatenate(self._window[model])
        counts = np.bincount(window)
        sums = np.bincount(window, np.concatenate(self._values[model]))

        def over(chosen: Indices) -> float:
            return float(sums[chosen].sum() / counts[chosen].sum())

        return over


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
