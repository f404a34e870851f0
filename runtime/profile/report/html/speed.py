"""Latency against the length of the texts."""

from dataclasses import dataclass

from markupsafe import Markup

from ..report import ProfileReport
from .lines import Line, draw_lines
from .words import amount, count, latency, latency_points, style_of, timed


@dataclass(frozen=True)
class SpeedChart:
    """One batch size in one place."""

    caption: str
    chart: Markup


@dataclass(frozen=True)
class PlaceSpeed:
    """One place."""

    place: str
    runtime: str
    charts: tuple[SpeedChart, ...]


def speed(report: ProfileReport) -> list[PlaceSpeed]:
    """Of each place where times were taken."""
    found = []
    for at, place in enumerate(report.places):
        here = [one for one in report.measurements if one.place == place and timed(one)]
        charts = [
            chart
            for batch in sorted({batch for batch, _ in report.grid})
            if (chart := _chart(report, place, batch, f"speed{at}-{batch}")) is not None
        ]
        if charts:
            found.append(PlaceSpeed(place, here[0].runtime, tuple(charts)))
    return found


def _chart(report: ProfileReport, place: str, batch: int, key: str) -> SpeedChart | None:
    lines = []
    for subject in report.subjects:
        one = report.measurement(subject.name, place)
        if one is None or not timed(one):
            continue
        points = []
        for length in latency_points(one, batch, report.grid):
            middle = one.figures[latency(batch, length, 50)].median
            high = one.figures.get(latency(batch, length, 95))
            points.append((float(length), middle, middle if high is None else high.median))
        if points:
            lines.append(Line(subject.name, style_of(report, subject.name), tuple(points)))
    if not lines:
        return None
    caption = f"{count(batch, 'text')} a call"
    chart = draw_lines(
        key,
        f"Latency in {place}, {caption}",
        lines,
        "tokens a text",
        "ms a call",
        " ".join(_describe(line) for line in lines),
    )
    return SpeedChart(caption, chart)


def _describe(line: Line) -> str:
    told = [
        f"{amount(middle, 'ms')} at {length:.0f} tokens (95% of the calls within "
        f"{amount(high, 'ms')})"
        for length, middle, high in line.points
    ]
    return f"{line.name}: {'; '.join(told)}."
