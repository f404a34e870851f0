"""Libraries in Rust panic: what they raise then is no Exception, and would end a program."""

from collections.abc import Iterator
from contextlib import contextmanager

_PANIC = "PanicException"  # of pyo3, which gives it no module to import it from


@contextmanager
def panics_raised() -> Iterator[None]:
    """A panic becomes a RuntimeError with its first line; everything else passes."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise RuntimeError((str(error).splitlines() or ["a panic"])[0]) from None
