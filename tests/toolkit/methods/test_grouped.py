"""Tables of integers with scales: values, sizes, and that errors go where they cost least."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit import Budget
from toolkit.errors import BudgetError, InputError
from toolkit.methods.grouped import choose_code, metric_error, nearest, round_table
from toolkit.table.grouped import BITS, GROUP_SIZES, PACKED, SCALES, GroupedCode, GroupedTable


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def uneven_metric(width):
    """A few directions that count far more than the others."""
    moves = np.random.default_rng(1).normal(size=(width, width))
    moves *= np.linspace(1, 0, width) ** 3
    return moves @ moves.T + 0.05 * np.eye(width) * width / 4


def by_hand(table):
    """The values, number by number."""
    middle = 2 ** (table.code.bits - 1)
    rows = []
    for codes, scales in zip(table.codes, table.scales.astype(np.float32), strict=True):
        rows.append(
            [
                (np.float32(code) - middle) * scales[column // table.code.group_size]
                for column, code in enumerate(codes)
            ]
        )
    return np.array(rows, np.float32)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 70),
    bits=st.sampled_from(BITS),
    group_size=st.sampled_from([16, 32]),
    metric=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_are_those_of_the_integers(rows, columns, bits, group_size, metric, seed):
    values = matrix(rows, columns, seed)
    code = GroupedCode(bits, group_size)
    table = round_table(values, code, metric=uneven_metric(columns) if metric else None)
    np.testing.assert_array_equal(table.dense(), by_hand(table))
    np.testing.assert_array_equal(table.lookup([-1, 0]), by_hand(table)[[-1, 0]])
    states = matrix(3, columns, seed + 1)
    np.testing.assert_allclose(table.logits(states), states @ table.dense().T, atol=1e-5)
    assert table.scales.dtype == np.float16
    assert table.codes.max() < 2**bits
    for blocks in (False, True):
        if table.in_blocks(heads=blocks) == blocks:
            held = table.tensors(heads=blocks)
            packed = held[PACKED]
            size = -(-packed.size // 2) if packed.dtype.name == "int4" else packed.nbytes
            expected = code.nbytes(rows, columns, blocks=blocks)
            assert abs(size + held[SCALES].nbytes - expected) <= rows  # half bytes of odd rows


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("group_size", [32, 128])
def test_a_searched_scale_errs_less_than_the_covering_one(bits, group_size):
    values, code = matrix(300, 128), GroupedCode(bits, group_size)
    ours, theirs = round_table(values, code), nearest(values, code)
    assert ours.scales.nbytes == theirs.scales.nbytes
    lost = [float(np.square(each.dense() - values).sum()) for each in (ours, theirs)]
    assert lost[0] < 0.95 * lost[1]


@pytest.mark.parametrize("bits", [2, 4])
def test_in_a_metric_less_is_lost_at_the_same_bytes(bits):
    values, code, metric = matrix(300, 128), GroupedCode(bits, 32), uneven_metric(128)
    ours = round_table(values, code, metric=metric)
    plain, theirs = round_table(values, code), nearest(values, code)
    assert ours.scales.nbytes == theirs.scales.nbytes
    lost = [metric_error(values, each, metric) for each in (ours, plain, theirs)]
    assert lost[0] < 0.7 * min(lost[1:])


def test_the_identity_is_a_metric_in_which_all_directions_count_alike():
    values, code = matrix(100, 64), GroupedCode(4, 32)
    plain, same = round_table(values, code), round_table(values, code, metric=np.eye(64))
    lost = [metric_error(values, each, np.eye(64)) for each in (plain, same)]
    assert lost[1] == pytest.approx(lost[0], rel=0.02)


def test_unbiased_rows_keep_their_inner_product_with_themselves():
    values, metric = matrix(200, 64), uneven_metric(64)
    code = GroupedCode(2, 32)
    biased = round_table(values, code, metric=metric)
    table = round_table(values, code, metric=metric, unbiased=True)

    def kept(each):
        moved = values @ metric
        return np.einsum("nd,nd->n", moved, each.dense()) / np.einsum("nd,nd->n", moved, values)

    assert kept(biased).mean() < 0.99  # what least squares loses
    np.testing.assert_allclose(kept(table), 1, atol=2e-3)  # scales in half precision


def test_rows_of_zeros_stay_zeros():
    values = matrix(5, 48)
    values[2] = 0
    values[3, :16] = 0
    for metric in (None, uneven_metric(48)):
        table = round_table(values, GroupedCode(4, 16), metric=metric, unbiased=metric is not None)
        assert not table.dense()[2].any()
        assert np.isfinite(table.dense()).all()


@pytest.mark.parametrize("factor", [1e-8, 1e6])
def test_scales_that_half_precision_does_not_hold_are_float32(factor):
    values = matrix(20, 32) * np.float32(factor)
    table = round_table(values, GroupedCode(4, 16))
    assert table.scales.dtype == np.float32
    assert np.square(table.dense() - values).sum() < 0.02 * np.square(values).sum()


def test_a_budget_gets_the_most_bits_and_the_smallest_groups_that_it_leaves():
    found = {
        ratio: choose_code(1000, 512, Budget(ratio=ratio)) for ratio in (3.5, 4, 7, 7.8, 12, 15.5)
    }
    assert found == {
        3.5: GroupedCode(8, 16),
        4: GroupedCode(4, 16),
        7: GroupedCode(4, 32),
        7.8: GroupedCode(4, 256),
        12: GroupedCode(2, 32),
        15.5: GroupedCode(2, 256),
    }
    for ratio, code in found.items():
        assert code.nbytes(1000, 512) <= 1000 * 512 * 4 / ratio
    assert choose_code(1000, 512, None) == GroupedCode(4, 32)
    assert choose_code(1000, 512, None, bits=2, group_size=64) == GroupedCode(2, 64)
    assert choose_code(1000, 512, Budget(ratio=4), bits=2) == GroupedCode(2, 16)
    assert choose_code(1000, 512, Budget(ratio=7), group_size=256) == GroupedCode(4, 256)
    assert choose_code(1000, 512, Budget(ratio=3), known=(4,)) == GroupedCode(4, 16)
    assert choose_code(10, 12, None).group_size == GROUP_SIZES[0]


def test_what_stock_operators_cannot_reach_is_refused_in_one_line():
    with pytest.raises(BudgetError, match=r"take 132,000 at least \(int2, .* 15.5x\)") as error:
        choose_code(1000, 512, Budget(ratio=25))
    assert error.value.nearest is not None
    with pytest.raises(InputError, match="min_cosine"):
        choose_code(1000, 512, Budget(min_cosine=0.9))


def test_ids_outside_the_table_are_refused():
    table = GroupedTable(
        np.zeros((3, 16), np.uint8), np.ones((3, 1), np.float16), GroupedCode(4, 16)
    )
    for bad in (3, -4):
        with pytest.raises(InputError, match=r"ids lie outside -3 \.\. 2"):
            table.lookup([0, bad])
