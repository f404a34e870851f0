"""Blocks of rows on all cores: each block on one thread, from its first operation to its last.

Operations on a block are too small to be worth splitting one by one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ...table.matrix import row_blocks


def for_row_blocks(like: Tensor, size: int, work: Callable[[slice], None]) -> None:
    """Call ``work`` for each ``size`` rows of ``like``; no two may write the same rows."""
    blocks = list(row_blocks(len(like), size))
    threads = torch.get_num_threads()
    if like.is_cuda or threads == 1 or len(blocks) == 1:
        for rows in blocks:
            work(rows)
        return
    try:
        # OpenMP keeps a number of threads for each thread, so the workers have to be told.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in pool.map(work, blocks):
                assert done is None
    finally:
        torch.set_num_threads(threads)


def largest(scores: Tensor) -> Tensor:
    """Column of the largest value in each row of ``scores`` [n, 256], int64 [n]."""
    if scores.is_cuda:
        return scores.argmax(dim=1)
    return torch.from_numpy(scores.numpy().argmax(axis=1))  # several times faster on the CPU
