"""Standard output of the command line, whose failure is told from that of any other file."""

import sys
from typing import Any

from toolkit.visible import visible


class OutputError(Exception):
    """Standard output took no more, as on a full disk; ``cause`` says why."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Output:
    """``sys.stdout`` as it is at the time; what fails is an :class:`OutputError`.

    A reader that went away (``| head``) stays a BrokenPipeError.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> int:
        """To standard output; nowhere if it is closed."""
        return self._try("write", text) or 0

    def flush(self) -> None:
        """Out of this process."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return sys.stdout is not None and sys.stdout.isatty()

    def _try(self, name: str, *given: str) -> Any:
        if sys.stdout is None:
            return None
        try:
            return getattr(sys.stdout, name)(*given)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from error


stdout: Any = _Output()


def write(text: str) -> None:
    """A text that has lines of its own, to stdout at once; other control characters are shown.

    In a pipe too, as what reads it is often a terminal in the end; ``--json`` has every character.
    """
    stdout.write(visible(text, keep="\n\t"))
    stdout.flush()
