"""Trellis-coded weights: the best path is found, and decoding is exact."""

import itertools

import numpy as np
import pytest

from toolkit.trellis import (
    TRELLISES,
    UNIT,
    block_size,
    hadamard,
    round_by_trellis,
    search,
    trellis,
)

FORMS = list(TRELLISES)
# Squared errors that the module's documentation names, and those of the best even steps.
ERRORS = {"trellis4": 0.0058, "trellis3": 0.0325, "trellis2": 0.0795}
EVEN = {"trellis4": 0.01154, "trellis2": 0.1188}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def read_bit_by_bit(form, codes, outputs):
    """What bytes [k, bytes] stand for, by the definition: int [k, outputs]."""
    found = trellis(form)
    values = np.zeros((len(codes), outputs), np.int64)
    for line, output in itertools.product(range(len(codes)), range(outputs)):
        byte, number = divmod(output, found.per_byte)
        before = codes[line, byte - 1] if byte else 0
        values[line, output] = int(found.current[codes[line, byte], number]) + int(
            found.previous[before, number]
        )
    return values


@pytest.mark.parametrize("form", FORMS)
def test_a_value_depends_on_its_window_alone(form):
    """So the search, which sees windows, and the decoder, which sees bytes, agree."""
    found = trellis(form)
    every = np.arange(256)
    assert sum(found.steps) == 8
    for number, (own, before) in enumerate(found.windows()):
        assert own + before <= 12
        np.testing.assert_array_equal(
            found.current[:, number], found.current[every >> (8 - own) << (8 - own), number]
        )
        np.testing.assert_array_equal(
            found.previous[:, number], found.previous[every % 2**before, number]
        )
        sums = found.current[:, None, number].astype(int) + found.previous[None, :, number]
        assert np.abs(sums).max() <= 127, "a sum of two bytes has to be a byte"


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_the_best_bytes_there_are(form):
    found = trellis(form)
    values = gaussian(3, 2 * found.per_byte)
    costs = np.linspace(0.3, 2, values.shape[1], dtype=np.float32)
    codes = search(found, values, costs)
    every = np.array(list(itertools.product(range(256), repeat=2)), np.uint8)
    decoded = found.values(every) / UNIT
    for line, chosen in zip(values, found.values(codes) / UNIT, strict=True):
        least = (np.square(decoded - line) * costs).sum(axis=1).min()
        assert (np.square(chosen - line) * costs).sum() == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_gaussian_numbers_lose_what_the_documentation_says(form):
    found = trellis(form)
    values = gaussian(16, 1200)
    codes = search(found, values, np.ones(1200, np.float32))
    error = np.square(found.values(codes) / UNIT - values).mean()
    bits = 8 / found.per_byte
    assert 4**-bits < error < ERRORS[form]
    if form in EVEN:
        assert error < 0.7 * EVEN[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("outputs", "inputs"), [(24, 32), (7, 5), (10, 384), (1, 128)])
def test_integers_are_what_the_definition_says(form, outputs, inputs):
    weight = round_by_trellis(gaussian(outputs, inputs), form=form)
    values = read_bit_by_bit(form, weight.codes, outputs)
    block = block_size(inputs)
    sums = (hadamard(block).astype(np.int64) @ values.reshape(block, -1)).reshape(values.shape)
    shift = int(np.log2(255 * 4 * UNIT * np.sqrt(block) / 127))
    expected = np.rint(sums * weight.factors.astype(np.int64) / 2**shift)
    assert np.abs(expected).max() <= 127
    np.testing.assert_array_equal(weight.integers(), expected.T)
    np.testing.assert_allclose(weight.dense(), expected.T * weight.scales[:, None], rtol=1e-6)


def test_bytes_are_the_bits_of_the_numbers():
    for form, per_byte in (("trellis4", 2), ("trellis3", 3), ("trellis2", 4)):
        weight = round_by_trellis(gaussian(60, 64), form=form)
        assert weight.codes.shape == (64, 60 // per_byte)
        assert weight.codes.dtype == weight.factors.dtype == np.uint8


@pytest.mark.parametrize("form", FORMS)
def test_known_inputs_make_errors_of_outputs_smaller(form):
    weight = gaussian(40, 64)
    mixing = gaussian(64, 64, seed=1) * np.geomspace(0.03, 3, 64)[:, None]
    inputs = gaussian(4000, 64, seed=2) @ mixing
    moments = (inputs.T @ inputs).astype(np.float64)

    def error(found):
        return np.square(inputs @ (found.dense() - weight).T).mean()

    aware = error(round_by_trellis(weight, moments, form=form))
    assert aware < 0.7 * error(round_by_trellis(weight, form=form))
    fresh = gaussian(4000, 64, seed=3) @ mixing
    found = round_by_trellis(weight, moments, form=form)
    assert np.square(fresh @ (found.dense() - weight).T).mean() < 1.2 * aware


def test_a_weight_that_stands_out_takes_little_from_the_others():
    weight = gaussian(8, 256)
    plain = round_by_trellis(weight, form="trellis4")
    weight[3, 17] = 30
    found = round_by_trellis(weight, form="trellis4")
    assert abs(found.dense()[3, 17] - 30) < 1
    others = np.arange(256) != 17
    error = np.square(found.dense()[3, others] - weight[3, others]).mean()
    assert error < 6 * np.square(plain.dense()[3] - weight[3]).mean()


def test_outputs_of_zeros_stay_zero_and_scale_does_not_matter():
    weight = gaussian(6, 32)
    weight[2] = 0
    found = round_by_trellis(weight, form="trellis4")
    assert not found.dense()[2].any()
    scaled = round_by_trellis(weight * np.float32(2**-20), form="trellis4")
    np.testing.assert_array_equal(scaled.codes, found.codes)
    np.testing.assert_allclose(scaled.dense() * 2**20, found.dense(), rtol=1e-5)
