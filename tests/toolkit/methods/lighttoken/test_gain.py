import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toolkit.methods.lighttoken.gain import nearest_levels, spread_levels

real_lengths = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0.125, 999, width=32))


def stored(lengths):
    levels = spread_levels(lengths)
    return levels[nearest_levels(lengths, levels)]


@given(real_lengths)
def test_levels_are_zero_and_equal_ratios_from_the_least_to_the_greatest(lengths):
    levels = spread_levels(lengths)
    assert levels.shape == (256,)
    assert levels.dtype == np.float32
    assert levels[0] == 0
    assert levels[1] == lengths.min()
    assert levels[-1] == lengths.max()
    ratios = levels[2:].astype(np.float64) / levels[1:-1]
    np.testing.assert_allclose(ratios, ratios.mean(), rtol=1e-5)


@given(real_lengths)
def test_a_length_is_stored_to_half_a_step_of_its_own_size(lengths):
    step = float(lengths.max() / lengths.min()) ** (1 / 254)
    bound = (step - 1) / (step + 1) + 1e-6
    assert (np.abs(stored(lengths) - lengths) <= bound * lengths).all()


@given(real_lengths, st.integers(0, 1000))
def test_no_level_is_nearer_than_the_one_chosen(lengths, seed):
    levels = np.sort(np.random.default_rng(seed).random(256).astype(np.float32)) * lengths.max()
    codes = nearest_levels(lengths, levels)
    assert codes.dtype == np.uint8
    distances = np.abs(levels[:, None] - lengths.astype(np.float64))
    chosen = distances[codes, np.arange(len(lengths))]
    assert (chosen <= distances.min(axis=0) + 1e-6 * lengths.max()).all()


def test_rows_of_no_length_keep_none():
    lengths = np.array([0.0, 3.0, 0.0, 5.0], np.float32)
    assert stored(lengths)[[0, 2]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(stored(lengths)[[1, 3]], [3.0, 5.0], rtol=1e-6)


def test_a_vanishing_row_does_not_coarsen_the_levels_of_the_others():
    lengths = np.geomspace(1, 10, 50).astype(np.float32)
    with_dust = np.append(lengths, np.float32(1e-12))
    np.testing.assert_array_equal(spread_levels(with_dust), spread_levels(lengths))
    assert stored(with_dust)[-1] == 0


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e15])
def test_one_row_is_exact(size):
    lengths = np.array([size], np.float32)
    np.testing.assert_allclose(stored(lengths), lengths, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_nothing_but_zeros_stays_zero(rows):
    assert stored(np.zeros(rows, np.float32)).tolist() == [0.0] * rows
