import decoder_bound
import numpy as np
import pytest


def test_equal_directions_and_rows_have_shannons_bound():
    variances, sizes = np.full((4, 8), 3.0), np.array([[0.25, 100.0]] * 4)
    for bits in (1.0, 2.0):
        found = decoder_bound.least_error(variances, sizes, bits * 4 * 8 * 100)
        assert found == pytest.approx(2.0 ** (-2 * bits), rel=1e-6)


def test_what_is_not_worth_a_bit_gets_none():
    """One direction has all the bits, the other stays as it is."""
    variances, sizes = np.array([[1.0, 1e-6]]), np.array([[1.0, 10.0]])
    found = decoder_bound.least_error(variances, sizes, 2 * 10.0)
    assert found == pytest.approx((2.0**-4 + 1e-6) / (1 + 1e-6), rel=1e-6)


def test_a_code_is_above_the_bound_and_the_mean_is_all_of_the_error():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(640, 8))
    importance = np.full(640, 1 / 640)
    metric = np.diag(np.arange(1.0, 9.0))
    rounded = np.round(table)
    values, counts = np.unique(rounded, return_counts=True)
    assert len(values) > 4
    entropy = -(counts / counts.sum() * np.log2(counts / counts.sum())).sum()
    error = decoder_bound.weighted_error(table, rounded, importance, metric)
    variances, sizes = decoder_bound.spectra(table, importance, metric)
    assert error > decoder_bound.least_error(variances, sizes, entropy * table.size)
    mean = np.broadcast_to(table.mean(0), table.shape)
    assert decoder_bound.weighted_error(table, mean, importance, metric) == pytest.approx(1)
