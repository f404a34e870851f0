"""How far the work is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done (0 .. 1) and a word on what is being done."""


def part(progress: Progress | None, start: float, stop: float) -> Progress:
    """Progress of a part of the work, from the share ``start`` of the whole to ``stop``."""
    if progress is None:
        return lambda share, what: None
    return lambda share, what: progress(start + (stop - start) * share, what)


class Meter:
    """Turns finished rounds into a share of the whole."""

    def __init__(
        self, progress: Progress | None, rounds: int, what: str = "fitting codes and decoder"
    ) -> None:
        self._progress, self._rounds, self._what = progress, rounds, what
        self._done = 0
        if progress is not None:
            progress(0.0, what)

    def round_done(self) -> None:
        """One more round is over."""
        self._done += 1
        if self._progress is not None:
            self._progress(min(1.0, self._done / max(1, self._rounds)), self._what)
