"""A process's memory, seen from outside while it runs."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

_EVERY = 0.001  # seconds


class Watch:
    """Samples of a process's RSS, from :meth:`start` until :meth:`stop` or its end.

    Attributes:
        samples: (seconds of the monotonic clock, bytes), oldest first.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples: list[tuple[float, int]] = []

    def start(self) -> None:
        """Begin; costs a hundredth of a core."""
        self._thread.start()

    def stop(self) -> None:
        """End, with what was sampled until now."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        read = _reader(self._pid)
        while not self._stop.is_set():
            try:
                self.samples.append((time.monotonic(), read()))
            except (OSError, ValueError, IndexError, psutil.Error):
                return  # it has ended
            self._stop.wait(_EVERY)


def _reader(pid: int) -> Callable[[], int]:
    statm = Path(f"/proc/{pid}/statm")
    if statm.is_file():
        import resource

        page = resource.getpagesize()
        return lambda: int(statm.read_text().split()[1]) * page
    process = psutil.Process(pid)
    return lambda: int(process.memory_info().rss)
