"""How far the work is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done (0 .. 1) and a word on what is being done."""

_ROUND_COST = 2.0  # a refinement round takes about as long as two epochs


class Meter:
    """Turns finished epochs and refinement rounds into one share of the whole."""

    def __init__(self, progress: Progress | None, epochs: int, rounds: int) -> None:
        self._progress = progress
        self._total = epochs + _ROUND_COST * rounds
        self._epochs, self._done = epochs, 0.0

    def epoch_done(self) -> None:
        """One more epoch of an autoencoder is over."""
        self._done += 1
        self._report("training the binary autoencoders")

    def round_done(self) -> None:
        """One more round of refinement is over."""
        self._done = max(self._done, self._epochs) + _ROUND_COST  # stages may have stopped early
        self._report("refining codes and decoder")

    def _report(self, what: str) -> None:
        if self._progress is not None:
            self._progress(min(1.0, self._done / self._total), what)
