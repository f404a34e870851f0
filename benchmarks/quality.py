"""How close a decoded table is, and how close any could be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.table.metrics import compare, cosines

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """Relative squared errors (centred) and cosines, over rows and over running text."""

    relative_error: float
    weighted_error: float
    mean_cosine: float
    weighted_cosine: float


def measure(table: Float32, decoded: Float32, weights: NDArray[np.float64]) -> Quality:
    """``weights`` float64 [V], sum 1: how frequent each row is taken to be."""
    plain = compare(table, decoded)
    centre = weights @ table
    spread = float(weights @ ((table - centre) ** 2).sum(axis=1, dtype=np.float64))
    error = float(weights @ ((table - decoded) ** 2).sum(axis=1, dtype=np.float64))
    return Quality(
        plain.relative_error,
        error / spread if spread > 0 else float(error > 0),
        plain.mean_cosine,
        float(weights @ cosines(table, decoded)),
    )


def gaussian_bound(spectrum: NDArray[np.float64], bits: float) -> float:
    """Least relative squared error of a Gaussian source at ``bits`` a row.

    Reverse water-filling (Cover & Thomas, theorem 10.3.3) over the covariance's eigenvalues,
    float64 [d]. Real tables are no Gaussians: classes of tokens can be exploited beyond it.
    """
    variances = np.sort(spectrum[spectrum > 0])[::-1]
    if not variances.size:
        return 0.0
    counts = np.arange(1, variances.size + 1)
    level = 2.0 ** ((np.cumsum(np.log2(variances)) - 2 * bits) / counts).max()
    return float(np.minimum(variances, level).sum() / variances.sum())
