"""What sections ask of a report."""

from ..report import FAILED, FUNCTION_ONLY, MEASURED, WRONG, Measurement, ProfileReport, Statistic

STATUS_CLASS = {MEASURED: "ok", FUNCTION_ONLY: "function", WRONG: "wrong", FAILED: "failed"}
"""The badge's class; the badge says the status in words too."""


def figure(report: ProfileReport, subject: str, place: str, name: str) -> Statistic | None:
    """That metric there; None where it was not measured."""
    one = report.measurement(subject, place)
    return None if one is None else one.figures.get(name)


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


def longest(grid: tuple[tuple[int, int], ...]) -> tuple[int, int] | None:
    """(texts, tokens) of the longest text in the smallest batch."""
    return max(grid, key=lambda point: (point[1], -point[0]), default=None)


def style_of(report: ProfileReport, subject: str) -> int:
    """A model has one colour on the whole page."""
    names = [one.name for one in report.subjects]
    return names.index(subject) % 6
