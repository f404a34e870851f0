"""How close a decoded table is to the original."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .blocks import row_blocks
from .embedding import Float32


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


def compare(original: Float32, decoded: Float32) -> TableQuality:
    """Compare two tables [V, d]; a constant table decoded exactly has error 0."""
    spread = float(((original - original.mean(axis=0)) ** 2).sum(dtype=np.float64))
    error = float(((decoded - original) ** 2).sum(dtype=np.float64))
    relative = error / spread if spread > 0 else float(error > 0)
    return TableQuality(relative, mean_cosine(original, decoded, np.ones(len(original))))


def mean_cosine(original: Float32, decoded: Float32, weights: NDArray[np.float64]) -> float:
    """Mean cosine of rows [V, d] to their decoded forms, each by its weight [V]; 1 if all are 0."""
    total, counted = 0.0, 0.0
    for rows in row_blocks(len(original)):
        lengths = np.linalg.norm(original[rows], axis=1)
        products = np.maximum(lengths * np.linalg.norm(decoded[rows], axis=1), 1e-30)
        cosines = (original[rows] * decoded[rows]).sum(axis=1) / products
        share = weights[rows] * (lengths > 0)
        total += float(share @ cosines)
        counted += float(share.sum())
    return total / counted if counted else 1.0
