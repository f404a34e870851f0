import numpy as np
import pytest

from toolkit.methods.svd import truncated_svd


def low_rank_matrix(rank, rows=400, width=32, seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(rows, rank)) * 10.0 ** -np.arange(rank)
    return (factors @ np.linalg.qr(rng.normal(size=(width, rank)))[0].T).astype(np.float32)


def decoded(factors):
    return factors.decode(np.arange(len(factors.left), dtype=np.int32))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_matrix_of_that_rank_comes_back_up_to_int8_rounding(rank):
    matrix = low_rank_matrix(rank)
    error = np.linalg.norm(decoded(truncated_svd(matrix, rank)) - matrix)
    assert error < 0.02 * np.linalg.norm(matrix)


def test_the_error_is_close_to_that_of_the_exact_svd():
    matrix = low_rank_matrix(3) + 0.05 * low_rank_matrix(32, seed=1)
    singular = np.linalg.svd(matrix, compute_uv=False)
    best = np.sqrt((singular[2:] ** 2).sum())
    error = np.linalg.norm(decoded(truncated_svd(matrix, 2)) - matrix)
    assert best * 0.999 <= error < 1.3 * best


def test_factors_are_int8_with_a_scale_for_each_direction():
    factors = truncated_svd(low_rank_matrix(3), 3)
    assert factors.left.dtype == factors.right.dtype == np.int8
    assert factors.left.shape == (400, 3)
    assert factors.right.shape == (3, 32)
    assert factors.scale.shape == (3,)
    assert (np.abs(factors.left).max(axis=0) == 127).all()


def test_a_zero_matrix_decodes_to_zero():
    assert not decoded(truncated_svd(np.zeros((10, 4), np.float32), 2)).any()


def test_no_more_directions_than_columns_are_kept():
    assert truncated_svd(low_rank_matrix(3, width=4), 9).rank == 4
