"""Folders that are gone when their block ends, whatever ends it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .signals import uninterrupted


@contextmanager
def temporary_folder(prefix: str | None = None, beside: Path | None = None) -> Iterator[Path]:
    """A new folder, in TMPDIR or in the folder ``beside``.

    A signal that comes while it is made waits: tempfile alone would leave a folder whose name
    nobody knows yet.
    """
    made = None
    try:
        with uninterrupted():
            made = tempfile.TemporaryDirectory(prefix=prefix, dir=beside)
        yield Path(made.name)
    finally:
        if made is not None:
            with uninterrupted():
                made.cleanup()
