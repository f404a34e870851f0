"""Blocks of rows on all cores: each block on one thread, from its first operation to its last.

Operations on a block are too small to be worth splitting one by one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...table.matrix import row_blocks
from ...threads import map_on_cores


def for_row_blocks(like: Tensor, size: int, work: Callable[[slice], None]) -> None:
    """Call ``work`` for each ``size`` rows of ``like``; no two may write the same rows."""
    blocks = list(row_blocks(len(like), size))
    for done in map(work, blocks) if like.is_cuda else map_on_cores(work, blocks):
        assert done is None


def largest(scores: Tensor) -> Tensor:
    """Column of the largest value in each row of ``scores`` [n, 256], int64 [n]."""
    if scores.is_cuda:
        return scores.argmax(dim=1)
    return torch.from_numpy(scores.numpy().argmax(axis=1))  # several times faster on the CPU
