"""How close a decoded table is to the original."""

from dataclasses import dataclass

import numpy as np

from .embedding import Float32


@dataclass(frozen=True)
class TableQuality:
    """Averages over all rows, each row counting once.

    Attributes:
        relative_error: squared error over the squared distance from the mean row.
        mean_cosine: cosine between a row and its decoded form.
    """

    relative_error: float
    mean_cosine: float


def compare(original: Float32, decoded: Float32) -> TableQuality:
    """Compare two tables [V, d]; a row of zeros counts as cosine 0, a constant table as error 0."""
    spread = float(((original - original.mean(axis=0)) ** 2).sum(dtype=np.float64))
    error = float(((decoded - original) ** 2).sum(dtype=np.float64))
    norms = np.linalg.norm(original, axis=1) * np.linalg.norm(decoded, axis=1)
    cosine = (original * decoded).sum(axis=1) / np.maximum(norms, 1e-12)
    relative = error / spread if spread > 0 else float(error > 0)
    return TableQuality(relative, float(cosine.mean(dtype=np.float64)))
