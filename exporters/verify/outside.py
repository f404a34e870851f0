"""Which ids a look-up is tried with, and what it may give for those that are none of its table."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toolkit.graph.rows import IDS_AT_ONCE, RowReader
from toolkit.graph.tables import TableUse
from toolkit.ort import ORT_ERRORS

from .differences import CheckError

Int64 = NDArray[np.int64]


def every_id(rows: int) -> Iterator[Int64]:
    """0 .. rows - 1, some thousand at a time."""
    for start in range(0, rows, IDS_AT_ONCE):
        yield np.arange(start, min(start + IDS_AT_ONCE, rows))


def negative_ids(rows: int) -> Int64:
    """-rows .. -1, of a large table some thousand of them: rows counted from the table's end."""
    return np.unique(np.linspace(-rows, -1, min(rows, IDS_AT_ONCE)).astype(np.int64))


def outside_ids(rows: int) -> list[int]:
    """Ids beside the table, and such as become one of its own where 64 bits are cut to 32."""
    return [rows, -rows - 1, 2 * rows, -2 * rows, 2**31, 2**32 + rows // 2, -(2**32)]


def check_outside(read: RowReader, table: TableUse, *, zeros: bool = False) -> None:
    """Raise CheckError unless ids outside the table are refused, or give rows of NaN.

    ``zeros``: rows of zeros will do, which is what onnxruntime's GatherBlockQuantized gives.
    """
    for id in outside_ids(table.rows):
        try:
            row = read(np.array([0, id]))[1]
        except ORT_ERRORS:
            continue
        if not np.isnan(row).all() and not (zeros and not row.any()):
            raise CheckError(
                f"id {id} is outside the table {table.name} of {table.rows} rows, and has a row; "
                "try the other --decode"
            )
