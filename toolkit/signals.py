"""Signals that end a process: they become an exception, and wait while something is cleaned up."""

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has the last
ENDING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_CLEANING_S = 10.0  # in which further signals do not disturb what the first one started


class Stopped(SystemExit):
    """The process was told to end by SIGTERM or SIGHUP.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def raise_on_signals() -> None:
    """From now on SIGINT raises KeyboardInterrupt, SIGTERM and SIGHUP raise :class:`Stopped`.

    A second signal that comes soon after the first is left out, so that cleaning up goes on; a
    signal that was ignored before, as by nohup, stays so. For the main thread.
    """
    first = [-_CLEANING_S]

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - first[0] < _CLEANING_S:
            return
        first[0] = now
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)

    # Python tries folders for temporary files out by a file of its own, once, and does not expect
    # an exception while it is there.
    with suppress(OSError):
        tempfile.gettempdir()
    first[0] += time.monotonic()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)


def ignore_signals() -> None:
    """From now on none of them does anything: all that is left to do is to end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Such signals have their effect when the block has ended, not within it.

    In another thread than the main one nothing changes: signals never interrupt it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    kept = {
        number: handler
        for number, handler in handlers.items()
        if handler not in (None, signal.SIG_IGN)
    }
    try:
        for number in kept:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
