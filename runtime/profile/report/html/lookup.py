"""What sections ask of a report."""

from collections.abc import Sequence

from ..report import FAILED, FUNCTION_ONLY, MEASURED, WRONG, Measurement, ProfileReport

STATUS_CLASS = {MEASURED: "ok", FUNCTION_ONLY: "function", WRONG: "wrong", FAILED: "failed"}
"""The badge's class; the badge says the status in words too."""


def timed(one: Measurement | None) -> bool:
    """Whether its times mean something."""
    return one is not None and one.status == MEASURED


def latency_points(one: Measurement, batch: int, grid: tuple[tuple[int, int], ...]) -> list[int]:
    """Lengths, rising, of which that measurement has the median latency at that batch."""
    return sorted(
        length
        for texts, length in grid
        if texts == batch and latency(batch, length, 50) in one.figures
    )


def latency(batch: int, length: int, share: int) -> str:
    """The metric's name."""
    return f"latency_{batch}x{length}_p{share}_ms"


def longest_first(grid: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(texts, tokens), the longest text in the smallest batch first."""
    return sorted(grid, key=lambda point: (-point[1], point[0]))


def style_of(report: ProfileReport, subject: str) -> int:
    """A model has one colour on the whole page."""
    names = [one.name for one in report.subjects]
    return names.index(subject) % 6
