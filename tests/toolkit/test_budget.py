import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.budget import FIXED_BYTES, Budget, layout_nbytes, plan_layout
from toolkit.errors import BudgetError, InputError
from toolkit.importance import zipf_prior


def spectrum(width, decay=1.0):
    return 1.0 / (1 + np.arange(width)) ** decay


def plan(rows, width, budget, *, decay=1.0):
    return plan_layout(spectrum(width, decay), zipf_prior(rows), budget, block=0)


def even(rows):
    return np.full(rows, 1 / rows)


def only_the_first(rows):
    return np.eye(1, rows)[0]


@pytest.mark.parametrize("arguments", [{}, {"ratio": 25, "max_bytes": 10}])
def test_a_budget_is_a_ratio_or_bytes(arguments):
    with pytest.raises(InputError, match="one of them"):
        Budget(**arguments)


@pytest.mark.parametrize("ratio", [0.5, -1, float("nan"), float("inf")])
def test_a_ratio_is_a_number_from_one_up(ratio):
    with pytest.raises(InputError, match="from 1 up"):
        Budget(ratio=ratio)


@pytest.mark.parametrize("max_bytes", [0, -5])
def test_bytes_are_positive(max_bytes):
    with pytest.raises(InputError, match="must be positive"):
        Budget(max_bytes=max_bytes)


def test_bytes_of_a_ratio_round_down():
    assert Budget(ratio=3).bytes_for(5, 2) == 13
    assert Budget(max_bytes=99).bytes_for(5, 2) == 99


@given(
    rows=st.integers(1, 3000),
    width=st.integers(1, 200),
    max_bytes=st.integers(1, 200_000),
    block=st.sampled_from([0, 64]),
    rank=st.sampled_from([None, 0, 3]),
    decay=st.sampled_from([0.0, 1.0, 8.0]),
    prior=st.sampled_from([zipf_prior, even, only_the_first]),
)
def test_a_layout_keeps_within_the_budget_and_its_own_bounds(
    rows, width, max_bytes, block, rank, decay, prior
):
    def plan_within(nbytes):
        budget = Budget(max_bytes=nbytes)
        return plan_layout(spectrum(width, decay), prior(rows), budget, block=block, rank=rank)

    try:
        layout = plan_within(max_bytes)
    except BudgetError as error:
        nearest = int(re.search(r"is ([\d,]+) bytes", str(error))[1].replace(",", ""))
        assert nearest > max_bytes
        plan_within(nearest)
        return
    assert layout.nbytes <= max_bytes
    assert layout.nbytes == layout_nbytes(
        rows, width, rank=layout.rank, bits=layout.bits, tiers=layout.tiers, block=layout.block
    )
    assert layout.bits or layout.tiers or layout.rank
    assert layout.bits % 8 == 0
    assert all(rows >= n >= 1 for n in layout.tiers)
    assert list(layout.tiers) == sorted(layout.tiers, reverse=True)
    assert 0 <= layout.expected_error <= 1
    assert rank is None or layout.rank == rank


def test_the_nearest_ratio_named_can_be_had():
    with pytest.raises(BudgetError) as failure:
        plan(707, 48, Budget(ratio=1000))
    assert "\n" not in str(failure.value)
    ratio = float(re.search(r"ratio ([\d.]+)$", str(failure.value))[1])
    plan(707, 48, Budget(ratio=ratio))
    with pytest.raises(BudgetError):
        plan(707, 48, Budget(ratio=ratio + 0.2))


def test_a_table_too_small_to_shrink_is_told_so():
    with pytest.raises(BudgetError, match="more than the table itself"):
        plan(10, 4, Budget(ratio=1))


def test_more_bytes_promise_less_error():
    budgets = [Budget(max_bytes=size) for size in range(20_000, 200_000, 20_000)]
    errors = [plan(3000, 96, budget).expected_error for budget in budgets]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_a_giant_direction_gets_a_rank_of_its_own():
    values = np.ones(64)
    values[0] = 1e9
    layout = plan_layout(values, zipf_prior(5000), Budget(ratio=12), block=0)
    assert layout.rank == 1
    assert plan(5000, 64, Budget(ratio=12), decay=0.5).rank == 0


def test_frequent_rows_get_planes_first():
    layout = plan(5000, 64, Budget(ratio=16))
    assert layout.tiers
    assert layout.tiers[0] < 5000
    alike = plan_layout(spectrum(64), even(5000), Budget(ratio=16), block=0)
    assert sum(alike.tiers) < sum(layout.tiers)
    assert alike.bits > layout.bits


def test_a_table_without_variance_still_gets_a_layout():
    layout = plan_layout(np.zeros(1000), zipf_prior(100), Budget(max_bytes=30_000), block=0)
    assert layout.bits or layout.tiers
    assert layout.expected_error == 0


def test_the_bytes_of_a_layout_are_those_of_its_tensors():
    nbytes = layout_nbytes(100, 20, rank=3, bits=16, tiers=(50, 10), block=64)
    mean, order = 4 * 20, 4 * 2
    lowrank = 3 * 100 + 3 * 20 + 4 * 3
    dense = 100 * 2 + 16 * 20 + 4 * 20
    planes = (50 + 10) * 3 + 2 * 4 * 20
    assert nbytes == FIXED_BYTES + mean + order + lowrank + dense + planes
