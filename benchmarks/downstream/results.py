"""The results: one JSON line for each training, in one file."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_KEY = ("model", "data", "task", "stored", "seed", "table", "recipe")
STS = "sts"  # the task of a row that was measured before any training


def key(row: Row) -> tuple[Any, ...]:
    """What two rows have in common if one need not be measured again."""
    return tuple(row.get(name) for name in _KEY)


def read_results(path: Path) -> list[Row]:
    """The rows of a file, the last of those with one key; [] where there is none yet.

    A line that was cut short is left out, so that it is measured again.
    """
    if not path.is_file():
        return []
    rows: dict[tuple[Any, ...], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "task" in row:
            rows[key(row)] = row
    return list(rows.values())


def append(path: Path, row: Row) -> None:
    """Add a line to the file in one write, on disk when this returns."""
    line = (json.dumps(row) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line  # what was cut short stays a line of its own
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)
