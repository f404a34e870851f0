"""A budget holds for what the graph stores."""

from functools import partial

import numpy as np
import pytest

from exporters.ops.layer import graph_tensors
from exporters.steps.within import compress_within
from toolkit import Budget, LightTokenConfig, compress
from toolkit.errors import BudgetError

TABLE = np.random.default_rng(0).normal(size=(1003, 32)).astype(np.float32)
FAST = partial(compress, TABLE, config=LightTokenConfig.of_effort("fast"))


def held(packed):
    return sum(array.nbytes for array in graph_tensors(packed, column_major=True).values())


@pytest.mark.parametrize("budget", [Budget(ratio=5), Budget(ratio=8.3), Budget(max_bytes=20_000)])
def test_a_table_that_a_head_reads_keeps_to_its_budget(budget):
    most = budget.bytes_for(1003, 32)
    packed = compress_within(budget, 1003, 32, FAST, heads=True)
    assert 0.8 * most < held(packed) <= most


def test_columns_that_are_filled_up_count():
    """A table as large as its budget is made again, smaller."""
    packed = FAST(Budget(ratio=5))
    asked = []

    def make(budget):
        asked.append(budget)
        return packed if len(asked) == 1 else FAST(Budget(ratio=8))

    most = held(packed) - 10
    assert compress_within(Budget(max_bytes=most), 1003, 32, make, heads=True).ratio > 7
    assert asked == [Budget(max_bytes=most), Budget(max_bytes=most - 10)]


def test_without_a_head_the_table_is_made_once():
    asked = []

    def make(budget):
        asked.append(budget)
        return FAST(budget)

    compress_within(Budget(ratio=5), 1003, 32, make, heads=False)
    compress_within(Budget(min_cosine=0.9), 1003, 32, make, heads=True)
    assert asked == [Budget(ratio=5), Budget(min_cosine=0.9)]


def test_a_large_table_is_made_once_too():
    asked = []
    packed = FAST(Budget(ratio=5))

    def make(budget):
        asked.append(budget)
        return packed

    compress_within(Budget(max_bytes=10**7), 1003, 32, make, heads=True)
    assert asked == [Budget(max_bytes=10**7 - 63 * 32)]


def test_what_cannot_be_reached_is_one_line():
    packed = FAST(Budget(ratio=5))
    with pytest.raises(BudgetError, match="900 bytes are too few for a 1003 x 32 table that an"):
        compress_within(Budget(max_bytes=900), 1003, 32, lambda budget: packed, heads=True)
