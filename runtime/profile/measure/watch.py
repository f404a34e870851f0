"""A process's memory, seen from outside while it runs."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from ..report.report import Timeline

_POINTS = 240


def timeline(
    samples: Sequence[tuple[float, int]], marks: Sequence[tuple[float, str]]
) -> Timeline | None:
    """Samples from the mark ``before`` to the last mark, in bytes above those at ``before``.

    Time is divided into equal spans, and the largest sample of each is kept, so that no peak is
    lost. None without that mark or without samples.
    """
    starts = [at for at, stage in marks if stage == "before"]
    if not starts or not samples:
        return None
    start, end = starts[0], marks[-1][0]
    at_start = [size for at, size in samples if at <= start]
    within = [(1e3 * (at - start), size) for at, size in samples if start <= at <= end]
    if not at_start or not within:
        return None
    bare = at_start[-1]
    span = within[-1][0] / _POINTS or 1.0
    kept: dict[int, tuple[float, int]] = {}
    for at, size in within:
        slot = int(at / span)
        if slot not in kept or size > kept[slot][1]:
            kept[slot] = (at, size)
    return Timeline(
        tuple((round(at, 2), float(size - bare)) for at, size in kept.values()),
        tuple((round(1e3 * (at - start), 2), stage) for at, stage in marks[1:]),
    )


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
        """Start sampling, which takes about a hundredth of a core."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling; the samples stay."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
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
