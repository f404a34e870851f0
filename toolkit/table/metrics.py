"""How close a decoded table is to the original."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .components import Float32
from .embedding import CompressedEmbedding
from .matrix import row_blocks

_TINY = float(np.finfo(np.float64).tiny)  # least product of lengths that is divided by


@dataclass(frozen=True)
class TableQuality:
    """Averages over all rows, each row counting once.

    Attributes:
        relative_error: squared error over the squared distance from the mean row.
        mean_cosine: cosine between a row and its decoded form; rows of zeros, such as a padding
            token's, have no direction and do not count.
    """

    relative_error: float
    mean_cosine: float


def compare(original: Float32, decoded: Float32 | CompressedEmbedding) -> TableQuality:
    """Compare two tables [V, d], a block of rows at a time.

    ``decoded`` may still be packed. A constant table decoded exactly has error 0.
    """
    mean = original.mean(axis=0, dtype=np.float64)
    spread, error = 0.0, 0.0
    for rows, block in _blocks(original, decoded):
        wide = original[rows].astype(np.float64)  # float32 has no squares of small numbers
        spread += float(((wide - mean) ** 2).sum())
        error += float(((block - wide) ** 2).sum())
    relative = error / spread if spread > 0 else float(error > 0)
    return TableQuality(relative, mean_cosine(original, decoded, np.ones(len(original))))


def mean_cosine(
    original: Float32, decoded: Float32 | CompressedEmbedding, weights: NDArray[np.float64]
) -> float:
    """Mean cosine of rows [V, d] to their decoded forms, each by its weight [V]; 1 if all are 0."""
    total, counted = 0.0, 0.0
    for rows, block in _blocks(original, decoded):
        share = weights[rows] * original[rows].any(axis=1)
        total += float(share @ cosines(original[rows], block))
        counted += float(share.sum())
    return total / counted if counted else 1.0


def cosines(left: Float32, right: Float32) -> NDArray[np.float64]:
    """Row by row: [n, d] and [n, d] -> float64 [n]; 0 where a row is all zeros."""
    a, b = left.astype(np.float64), right.astype(np.float64)  # float32 sums give more than 1
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    values: NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(lengths, _TINY)
    return np.minimum(values, 1.0)


def _blocks(
    original: Float32, decoded: Float32 | CompressedEmbedding
) -> Iterator[tuple[slice, Float32]]:
    for rows in row_blocks(len(original)):
        if isinstance(decoded, CompressedEmbedding):
            yield rows, decoded.lookup(np.arange(rows.start, rows.stop))
        else:
            yield rows, decoded[rows]
