"""Stage (a): the rank-k part of the table, by truncated SVD, its factors held in int8."""

import numpy as np
from numpy.typing import NDArray

from .blocks import row_blocks
from .embedding import Float32, LowRank


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
