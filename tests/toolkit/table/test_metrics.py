import numpy as np
import pytest

from toolkit.table.metrics import compare, mean_cosine


def test_the_same_table_has_no_error():
    table = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    quality = compare(table, table)
    assert quality.relative_error == 0
    assert quality.mean_cosine == pytest.approx(1)


def test_the_mean_row_has_relative_error_one():
    table = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    quality = compare(table, np.broadcast_to(table.mean(0), table.shape))
    assert quality.relative_error == pytest.approx(1, rel=1e-4)


def test_opposite_rows_have_cosine_minus_one():
    table = np.eye(3, dtype=np.float32)
    assert compare(table, -table).mean_cosine == pytest.approx(-1)


def test_a_constant_table_decoded_exactly_has_error_zero():
    table = np.ones((5, 3), np.float32)
    assert compare(table, table).relative_error == 0
    assert compare(table, table + 1).relative_error == 1


def test_a_packed_table_is_decoded_on_the_way(small_table, small_embedding):
    assert compare(small_table, small_embedding) == compare(small_table, small_embedding.dense())


def test_rows_of_zeros_have_no_direction():
    table = np.eye(4, dtype=np.float32)
    table[0] = 0
    assert compare(table, table + 1e-6).mean_cosine == pytest.approx(1)
    assert mean_cosine(np.zeros_like(table), table, np.ones(4)) == 1


def test_rows_count_by_their_weight():
    table = np.eye(2, dtype=np.float32)
    decoded = table * np.array([[1], [-1]], np.float32)
    assert mean_cosine(table, decoded, np.array([3.0, 1.0])) == pytest.approx(0.5)


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e15])
def test_figures_do_not_depend_on_the_scale(scale):
    """Denormal numbers included, whose squares float32 does not hold."""
    table = np.random.default_rng(0).normal(size=(50, 8))
    half = table * 0.5
    found = compare((table * scale).astype(np.float32), (half * scale).astype(np.float32))
    right = compare(table.astype(np.float32), half.astype(np.float32))
    assert found.relative_error == pytest.approx(right.relative_error, rel=1e-3)
    assert found.mean_cosine == pytest.approx(1, abs=1e-6)
    nothing = compare((table * scale).astype(np.float32), np.zeros((50, 8), np.float32))
    assert nothing.relative_error == pytest.approx(1, abs=0.1)
    assert nothing.mean_cosine == 0
