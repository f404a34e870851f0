"""Truncated SVD as a method of its own: the baseline of both seed papers."""

import numpy as np

from .budget import Budget
from .embedding import CompressedEmbedding, Float32
from .errors import BudgetError
from .lowrank import exact_svd, truncated_svd

_HEADER = 512  # bytes of the file's header, at most


def compress_svd(table: Float32, budget: Budget, *, int8: bool) -> CompressedEmbedding:
    """Mean and the rank that the budget pays for; factors in int8 or float32.

    Raises:
        BudgetError: not even rank 1 fits.
    """
    rank = affordable_rank(table, budget, bytes_per_value=1 if int8 else 4)
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    factors = (truncated_svd if int8 else exact_svd)(table - mean, rank)
    return CompressedEmbedding(len(table), table.shape[1], mean, (), factors)


def affordable_rank(table: Float32, budget: Budget, *, bytes_per_value: int) -> int:
    """Columns of the factors [V, k] and [k, d] that fit beside mean and header.

    Raises:
        BudgetError: none; the message names the ratio of rank 1.
    """
    rows, width = table.shape
    fixed = _HEADER + 4 * width
    column = bytes_per_value * (rows + width) + (4 if bytes_per_value == 1 else 0)
    rank = (budget.bytes_for(rows, width) - fixed) // column
    if rank < 1:
        nearest = rows * width * 4 / (fixed + column)
        raise BudgetError(
            f"{budget.bytes_for(rows, width):,} bytes are too few for rank 1 of a {rows} x {width} "
            f"table; the nearest that can be reached is ratio {nearest:.1f}"
        )
    return min(rank, rows, width)
