"""Renames that replace nothing, and two folders that change places in one step."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

_NO_REPLACE, _EXCHANGE = 1, 2  # Linux's renameat2
_HERE = -100  # AT_FDCWD: paths are as the process sees them
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # an old kernel, or a file system without


def move_new(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, where nothing may be.

    Raises:
        FileExistsError: something is there, be it an empty folder or a link to nowhere.
    """
    if _renameat2(source, target, _NO_REPLACE):
        return
    # Here another program has an instant to put something there; an empty folder would be replaced.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if source.is_dir():
        source.rename(target)
        return
    os.link(source, target)  # refuses a name that is taken
    source.unlink()


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places, so that neither name is ever free; False where none can."""
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, how: int) -> bool:
    """Whether the system could do it; an error that is not about that is raised."""
    call = _find_call()
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), how) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def _find_call() -> Callable[..., int] | None:
    """The C library's, None where it has none."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        call: Callable[..., int] = ctypes.CDLL(None, use_errno=True).renameat2
        return call
    return None
