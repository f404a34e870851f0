"""Whole numbers that options take: what lies outside is a slip, and is refused before any work.

The upper ends are far above what any model or machine has use for. Beyond them are numbers that
libraries refuse late, or that take all memory first.
"""

from dataclasses import dataclass

from .errors import InputError

_LONG = 10**30  # a number from here on is not shown


@dataclass(frozen=True)
class Whole:
    """From ``least`` to ``most``, both allowed."""

    least: int
    most: int

    def check(self, name: str, value: int) -> None:
        """Raise an InputError, which calls the value ``name``, where it lies outside."""
        if (problem := self.problem(name, value)) is not None:
            raise InputError(problem)

    def problem(self, name: str, value: int) -> str | None:
        """What is wrong with the value, in a line; None for nothing."""
        shown = str(value) if abs(value) < _LONG else f"one of {len(str(abs(value)))} digits"
        if value < self.least:
            return f"{name} must be at least {self.least}, got {shown}"
        if value > self.most:
            return f"{name} must be at most {self.most}, got {shown}"
        return None


SEED = Whole(0, 2**32 - 1)
"""What every generator of random numbers takes that is seeded."""
THREADS = Whole(1, 1024)
"""More than the cores of any machine; a system refuses tens of thousands only as they start. Not a
multiple of this machine's cores: folders for devices are written elsewhere."""
BATCH = Whole(1, 4096)
"""Texts of a call."""
LENGTH = Whole(1, 2**20)
"""Tokens of a text: as many as the longest contexts have."""
CALL = Whole(1, 2**22)
"""Tokens of a call, all its texts together."""
TOKENS = Whole(1, 2**20)
"""Tokens to write."""
RUNS = Whole(1, 1_000_000)
"""Timed calls in a process."""
REPEATS = Whole(1, 10_000)
"""Processes."""
RESAMPLES = Whole(1, 1_000_000)
"""Of a bootstrap; the interval stands still long before."""
EXAMPLES = Whole(2, 2**40)
"""Lines of a file, or tokens of a text, to read at most."""
STEPS = Whole(0, 10_000_000)
"""Of training."""
BYTES = Whole(1, 2**50)
"""Of what may be stored."""
LISTED = Whole(0, 1_000_000)
"""Rows of a table for people, or tokens to choose from."""
WORKERS = Whole(1, 10_000)
"""Of a sweep, on all machines together."""
CELLS = Whole(1, 10_000)
"""Of a sweep: with a minute each they take a week."""
