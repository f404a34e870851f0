"""Going through a tall matrix a few rows at a time, so that memory does not grow with it."""

from collections.abc import Iterator

BLOCK_ROWS = 8192


def row_blocks(rows: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices that cover 0 .. rows - 1, each of ``size`` rows but the last."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
