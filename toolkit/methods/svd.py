"""Truncated SVD as a method of its own: the baseline of both seed papers."""

import numpy as np
from numpy.typing import NDArray

from ..allocate.budget import Budget
from ..errors import BudgetError
from ..table.components import Float32, LowRank
from ..table.embedding import CompressedEmbedding
from ..table.matrix import row_blocks


def exact_svd(matrix: Float32, rank: int) -> LowRank:
    """The best rank-``rank`` approximation of ``matrix`` float32 [V, d], factors in float32."""
    vectors = _leading_vectors(matrix, rank).astype(np.float32)
    return LowRank(matrix @ vectors.T, vectors)


def truncated_svd(matrix: Float32, rank: int) -> LowRank:
    """The best rank-``rank`` approximation of ``matrix`` float32 [V, d], quantised.

    Each column
    of ``left`` and each row of ``right`` is quantised to int8 with one scale; ``left`` is fitted
    to the already quantised ``right``, so that the second rounding repairs the first.
    """
    vectors = _leading_vectors(matrix, rank)
    right_scale = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-30) / 127
    right = np.rint(vectors / right_scale).astype(np.int8)
    basis = right * right_scale
    projected = (matrix @ basis.T.astype(np.float32)).astype(np.float64)
    left_exact = np.linalg.solve(basis @ basis.T, projected.T).T
    left_scale = np.maximum(np.abs(left_exact).max(axis=0), 1e-30) / 127
    left = np.rint(left_exact / left_scale).astype(np.int8)
    scale = (left_scale * right_scale[:, 0]).astype(np.float32)
    return LowRank(left, right, scale)


def _leading_vectors(matrix: Float32, rank: int) -> NDArray[np.float64]:
    """Right singular vectors [rank, d], from the d x d Gram matrix: V is large, d is not."""
    gram = np.zeros((matrix.shape[1], matrix.shape[1]))
    for rows in row_blocks(len(matrix)):
        gram += matrix[rows].T @ matrix[rows]
    return np.linalg.eigh(gram)[1][:, ::-1][:, :rank].T


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
