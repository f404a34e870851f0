"""A model's files in and out of the page cache."""

import os
from collections.abc import Sequence
from pathlib import Path

_READ_CHUNK = 1 << 22  # bytes


def drop(files: Sequence[Path]) -> bool:
    """Drop the files from the page cache; whether they are out of it, which few systems can do."""
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return False
    for path in files:
        with path.open("rb") as file:
            try:
                os.fsync(file.fileno())  # pages not yet on disk cannot be dropped
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
            except BlockingIOError:
                continue  # would have to wait for the disk
            except OSError:
                return False
        if path.stat().st_size:
            return False
    return True


def read_afresh(files: Sequence[Path]) -> None:
    """Drop each file from the page cache where the system can, then read it through.

    Linux maps a file in the blocks in which it came into the cache, larger ones if it was just
    written. Of two equal models, one just copied showed a quarter more resident memory.
    """
    drop(files)
    for path in files:
        with path.open("rb") as file:
            while file.read(_READ_CHUNK):
                pass
