"""Blocks of few bits: what they stand for, and that errors end up where they cost least."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.rounding import GroupedWeight, round_by_outputs, round_to_nearest


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def unpack(weight, columns):
    """Codes from packed bytes, bit by bit."""
    packed = weight.packed()
    rows = []
    for row in packed:
        bits = np.unpackbits(row.reshape(-1, 1), axis=1, bitorder="little").reshape(-1, weight.bits)
        rows.append((bits << np.arange(weight.bits)).sum(axis=1)[:columns])
    return np.array(rows)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 70),
    bits=st.sampled_from([2, 4, 8]),
    group_size=st.sampled_from([16, 32]),
    seed=st.integers(0, 99),
)
def test_bytes_codes_and_values_agree(rows, columns, bits, group_size, seed):
    values = matrix(rows, columns, seed)
    weight = round_to_nearest(values, bits=bits, group_size=group_size)
    groups = -(-columns // group_size)
    assert weight.packed().shape == (rows, groups, group_size * bits // 8)
    assert weight.scales.shape == (rows, groups)
    assert weight.scales.dtype == np.float32
    np.testing.assert_array_equal(unpack(weight, columns), weight.codes)
    largest = np.abs(values).max()
    assert (
        np.abs(weight.dense() - values).max() <= 0.6 * largest / (2 ** (bits - 1) - 1) + largest / 4
    )


def test_what_fills_a_block_up_stands_for_zero():
    weight = round_to_nearest(matrix(3, 20), bits=4, group_size=16)
    assert (weight.packed()[:, 1, 2:] == 0x88).all()


def test_a_block_of_zeros_is_zero():
    values = matrix(2, 32)
    values[0, :16] = 0
    for weight in (
        round_to_nearest(values, group_size=16),
        round_by_outputs(values, np.eye(32), group_size=16),
    ):
        assert not weight.dense()[0, :16].any()
        assert np.isfinite(weight.scales).all()


def test_the_scale_is_the_best_of_those_tried():
    values = matrix(4, 32)
    weight = round_to_nearest(values, bits=4, group_size=32)
    least = ((weight.dense() - values) ** 2).sum(axis=1)
    for factor in (0.9, 0.97, 1.03, 1.1):
        scales = weight.scales * np.float32(factor)
        steps = np.clip(np.rint(values / scales), -8, 7)
        assert (((steps * scales - values) ** 2).sum(axis=1) >= 0.97 * least).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_outputs_err_less_than_by_rounding_to_nearest(bits):
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 64)) + 0.1 * rng.normal(
        size=(500, 64)
    )
    values = matrix(24, 64)
    nearest = round_to_nearest(values, bits=bits, group_size=32).dense()
    aware = round_by_outputs(values, inputs.T @ inputs, bits=bits, group_size=32).dense()
    errors = [float((((w - values) @ inputs.T) ** 2).sum()) for w in (nearest, aware)]
    assert errors[1] < 0.5 * errors[0]


def test_inputs_that_know_nothing_leave_rounding_to_nearest():
    values = matrix(5, 48)
    aware = round_by_outputs(values, np.eye(48), group_size=16)
    np.testing.assert_array_equal(aware.codes, round_to_nearest(values, group_size=16).codes)


def test_columns_that_no_input_reaches_do_no_harm():
    moments = np.zeros((32, 32))
    moments[:16, :16] = np.eye(16)
    weight = round_by_outputs(matrix(3, 32), moments, group_size=16)
    assert np.isfinite(weight.dense()).all()
    assert np.isfinite(
        round_by_outputs(matrix(3, 32), np.zeros((32, 32)), group_size=16).dense()
    ).all()


def test_dense_is_codes_times_scales():
    weight = GroupedWeight(np.array([[0, 8, 15]], np.uint8), np.array([[0.5]], np.float32), 4, 16)
    np.testing.assert_array_equal(weight.dense(), [[-4.0, 0.0, 3.5]])
