import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolkit.methods.lighttoken.parallel import for_row_blocks, largest


@pytest.fixture
def threads():
    """Sets the number of threads, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (41, 4), (41, 100)])
def test_every_row_is_worked_on_once(threads, count, rows, size):
    threads(count)
    seen = torch.zeros(rows)

    def work(block):
        assert 0 < len(seen[block]) <= size
        seen[block] += 1

    for_row_blocks(seen, size, work)
    assert (seen == 1).all()


def test_blocks_are_spread_over_threads_that_have_one_core_each(threads):
    threads(2)
    workers, cores = set(), []

    def work(_):
        workers.add(threading.get_ident())
        cores.append(torch.get_num_threads())
        time.sleep(0.01)

    for_row_blocks(torch.zeros(16), 1, work)
    assert len(workers) == 2
    assert cores == [1] * 16
    assert threading.get_ident() not in workers


@pytest.mark.parametrize(("count", "rows"), [(1, 16), (2, 1)])
def test_one_thread_or_one_block_needs_no_pool(threads, count, rows):
    threads(count)
    workers = []
    for_row_blocks(torch.zeros(rows), 1, lambda _: workers.append(threading.get_ident()))
    assert workers == [threading.get_ident()] * rows


@pytest.mark.parametrize("failing", [False, True])
def test_the_number_of_threads_is_given_back(threads, failing):
    threads(3)

    def work(block):
        if failing and block.start == 5:
            raise ValueError("block 5")

    if failing:
        with pytest.raises(ValueError, match="block 5"):
            for_row_blocks(torch.zeros(8), 1, work)
    else:
        for_row_blocks(torch.zeros(8), 1, work)
    assert torch.get_num_threads() == 3


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 256))
def test_largest_names_the_first_column_of_the_largest_value(seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-4, 4, (rows, columns), generator=generator).float()
    found = largest(scores)
    assert found.dtype == torch.int64
    for row, column in zip(scores.tolist(), found.tolist(), strict=True):
        assert column == row.index(max(row))
