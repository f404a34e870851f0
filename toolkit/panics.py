"""Libraries in Rust panic: what they raise then is no Exception, and would end a program.

They also write some lines of their own to the terminal first, with whatever is in the file that
they came upon. These lines are held back; everything else that is written meanwhile is not lost.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PANIC = "PanicException"  # of pyo3, which gives it no module to import it from
_STDERR = 2


@contextmanager
def panics_raised() -> Iterator[None]:
    """A panic becomes a RuntimeError with its first line; everything else passes."""
    aside = _Aside()
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            aside.end(lost=False)
            raise
        aside.end(lost=True)
        raise RuntimeError((str(error).splitlines() or ["a panic"])[0]) from None
    else:
        aside.end(lost=False)


class _Aside:
    """What this process writes to stderr, kept in memory until :meth:`end`."""

    def __init__(self) -> None:
        self._real = self._held = -1
        if not hasattr(os, "memfd_create"):  # Linux has it; elsewhere the lines are shown
            return
        with suppress(OSError):  # stderr is closed
            self._real = os.dup(_STDERR)
            self._held = os.memfd_create("stderr")
            os.dup2(self._held, _STDERR)

    def end(self, *, lost: bool) -> None:
        """Let stderr be what it was; what was written comes there now if it is not ``lost``."""
        if self._real < 0:
            return
        os.dup2(self._real, _STDERR)
        os.close(self._real)
        if self._held < 0:
            return
        if not lost:
            os.lseek(self._held, 0, os.SEEK_SET)
            while piece := os.read(self._held, 1 << 16):
                with suppress(OSError):
                    os.write(_STDERR, piece)
        os.close(self._held)
