from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import LightTokenConfig
from toolkit.allocate.allocation import Subquantizer
from toolkit.allocate.spectrum import covariance_spectrum, measure_spectra

PLAIN = LightTokenConfig(classes=False, gain=False)
CLASSES = replace(PLAIN, classes=True)


def normal(rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def falling(rows, width, seed=0):
    return normal(rows, width, seed) / np.arange(1, width + 1, dtype=np.float32)


def clustered(rows, width, seed=0):
    centres = 3 * falling(40, width, seed)
    return centres[np.random.default_rng(seed).integers(40, size=rows)] + 0.1 * normal(rows, width)


def test_the_spectrum_is_that_of_the_covariance():
    table = falling(300, 6) + 5
    expected = np.linalg.eigvalsh(np.cov(table.T, bias=True))[::-1]
    np.testing.assert_allclose(covariance_spectrum(table), expected, rtol=1e-3)
    (measured,) = measure_spectra(table, PLAIN)
    np.testing.assert_allclose(measured.variances, expected, rtol=1e-3)
    assert measured.total == pytest.approx(expected.sum(), rel=1e-3)
    assert measured.prefix == ()
    assert not measured.gain


@given(
    rows=st.integers(1, 60),
    width=st.integers(1, 70),
    seed=st.integers(0, 1000),
    gain=st.sampled_from([None, False, True]),
)
def test_every_way_to_look_at_a_table_has_its_width_and_the_same_total(rows, width, seed, gain):
    table = normal(rows, width, seed)
    plain, *classes = measure_spectra(table, replace(CLASSES, gain=gain))
    assert plain.prefix == ()
    for spectrum in (plain, *classes):
        assert spectrum.variances.shape == (width,)
        assert np.isfinite(spectrum.variances).all()
        assert spectrum.total == plain.total
        assert spectrum.gain == plain.gain
        assert spectrum.variances.sum() <= spectrum.total * (1 + 1e-5) + 1e-9
        assert (spectrum.variances >= -1e-5 * spectrum.total - 1e-9).all()
    for spectrum in classes:
        (subquantizer,) = spectrum.prefix
        assert subquantizer.groups == 1
        assert 2 * subquantizer.dimension <= width


def test_a_tall_table_is_judged_by_rows_from_all_over_it():
    table = normal(80_000, 3)
    table[40_000:] *= 3
    (measured,) = measure_spectra(table, PLAIN)
    np.testing.assert_allclose(measured.variances, covariance_spectrum(table), rtol=0.05)


def test_rows_of_very_different_lengths_are_worth_a_gain():
    factors = np.exp(np.random.default_rng(0).normal(size=(500, 1))).astype(np.float32)
    alike, unlike = normal(500, 32), normal(500, 32) * factors
    ask = replace(PLAIN, gain=None)
    assert not measure_spectra(alike, ask)[0].gain
    assert measure_spectra(unlike, ask)[0].gain
    assert measure_spectra(alike, replace(ask, gain=True))[0].gain
    assert not measure_spectra(unlike, replace(ask, gain=False))[0].gain


def test_lengths_are_those_from_the_mean():
    far = normal(500, 32) + 100
    assert not measure_spectra(far, replace(PLAIN, gain=None))[0].gain


def test_with_gain_every_row_counts_as_one():
    table = normal(400, 8)
    table[:3] *= 1000
    table[3:6] = -table[:3]
    (spectrum,) = measure_spectra(table, replace(PLAIN, gain=True))
    assert spectrum.total == pytest.approx(1, rel=1e-4)
    assert spectrum.variances.max() < 0.3  # the three giants do not make a direction of their own


def test_rows_of_no_length_do_not_ask_for_a_gain():
    table = np.zeros((400, 8), np.float32)
    table[::2] = normal(200, 8)
    table[1::2] = table[::2].mean(axis=0)  # at the mean: no length from it
    table[::2] /= 1000 * np.linalg.norm(table[::2] - table[1], axis=1, keepdims=True)
    for spectrum in measure_spectra(table, replace(PLAIN, gain=True)):
        assert np.isfinite(spectrum.variances).all()


def test_classes_explain_clusters():
    table = clustered(20_000, 64)
    plain, *classes = measure_spectra(table, CLASSES)
    assert classes
    assert len({spectrum.prefix for spectrum in classes}) == len(classes)
    assert min(spectrum.variances.sum() for spectrum in classes) < 0.3 * plain.total


def test_classes_of_noise_explain_little():
    table = normal(20_000, 64)
    plain, *classes = measure_spectra(table, CLASSES)
    assert all(spectrum.variances.sum() > 0.75 * plain.total for spectrum in classes)


def test_directions_beyond_those_of_the_classes_keep_their_variances():
    table = clustered(2000, 64)
    plain, *classes = measure_spectra(table, CLASSES)
    for spectrum in classes:
        (subquantizer,) = spectrum.prefix
        np.testing.assert_allclose(
            spectrum.variances[subquantizer.dimension :], plain.variances[subquantizer.dimension :]
        )


def test_classes_can_be_left_out_and_narrow_tables_have_none():
    assert len(measure_spectra(normal(500, 64), PLAIN)) == 1
    assert len(measure_spectra(normal(500, 3), CLASSES)) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("gain", [None, True, False])
def test_a_constant_table_has_no_variance(value, gain):
    table = np.full((300, 40), value, np.float32)
    spectra = measure_spectra(table, LightTokenConfig(gain=gain))
    assert all(np.isfinite(spectrum.variances).all() for spectrum in spectra)
    assert covariance_spectrum(table).max() < 1e-12


def test_the_table_is_left_alone_and_spectra_are_repeatable():
    table = clustered(500, 64)
    before = table.copy()
    first, again = (measure_spectra(table, LightTokenConfig(gain=True)) for _ in range(2))
    np.testing.assert_array_equal(table, before)
    assert [s.prefix for s in first] == [s.prefix for s in again]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.variances, other.variances)


def test_a_prefix_is_one_byte():
    plain, *classes = measure_spectra(normal(300, 64), CLASSES)
    assert all(
        spectrum.prefix == (Subquantizer(1, spectrum.prefix[0].dimension),) for spectrum in classes
    )
    assert not plain.prefix
