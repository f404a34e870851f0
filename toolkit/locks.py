"""A file that one process at a time holds."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows: nobody can tell there whether another one runs
    fcntl = None  # type: ignore[assignment]

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def only_one(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock file ``path``, which is made and stays, while the block runs.

    The system frees it with the process, however that ends. Where a file system has no locks
    nothing is held.

    Raises:
        InputError: another process holds it; the message is ``refusal``.
        OSError: the file cannot be made, or is a link.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _HELD:
                    raise InputError(refusal) from error
        yield
    finally:
        os.close(lock)
