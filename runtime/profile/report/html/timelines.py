"""A process's memory over time, one panel a model, all panels on the same scales."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..report import Timeline
from .lines import draw_frame
from .scale import Scale, linear, logarithmic
from .svg import WIDTH, Drawing, number

_LEFT, _TOP, _BOTTOM, _HEIGHT = 40.0, 40.0, 36.0, 230.0
_RIGHT = WIDTH - 10
_MOST_POINTS = 160  # a line's; twice as many cannot be told apart on a screen
_MEGA = 1e6


@dataclass(frozen=True)
class Trace:
    """A model's timeline."""

    name: str
    style: int
    timeline: Timeline


def draw_timelines(key: str, traces: Sequence[Trace]) -> list[Markup]:
    """A panel each; the other models' lines are there too, faint."""
    x, y = _scales(traces)
    return [
        _panel(f"{key}-{at}", [f"{key}-{n}-l" for n in range(len(traces))], at, traces, x, y)
        for at in range(len(traces))
    ]


def at_time(timeline: Timeline, ms: float) -> float | None:
    """Bytes at the last point up to that time."""
    seen = [value for at, value in timeline.points if at <= ms]
    return seen[-1] if seen else None


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about ``most`` points: of each stretch its lowest and its highest, so peaks stay."""
    if len(points) <= most:
        return list(points)
    size = -(-2 * len(points) // most)
    kept = [points[0]]
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends - {kept[-1]})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _scales(traces: Sequence[Trace]) -> tuple[Scale, Scale]:
    times = [ms for trace in traces for ms, _ in trace.timeline.points]
    marks = [ms for trace in traces for ms, _ in trace.timeline.marks if ms > 0]
    sizes = [size / _MEGA for trace in traces for _, size in trace.timeline.points]
    y = linear(sizes or [0.0], _HEIGHT - _BOTTOM, _TOP + 4)
    end = max([*times, *marks], default=1.0)
    first = min(marks, default=end)
    # A load of a tenth of a second before seconds of calls would be a sliver.
    if end > 15 * first:
        return logarithmic([max(1.0, first / 20), end], _LEFT, _RIGHT, exact=True), y
    return linear([end], _LEFT, _RIGHT), y


def _panel(
    key: str, keys: list[str], at: int, traces: Sequence[Trace], x: Scale, y: Scale
) -> Markup:
    trace = traces[at]
    drawing = Drawing(key, f"Memory of {trace.name} over time", _describe(trace), _HEIGHT)
    bottom = _HEIGHT - _BOTTOM
    label = "ms since the start of the load" + (", logarithmic" if x.log else "")
    draw_frame(drawing, x, y, _RIGHT, bottom, label, "MB above the bare runtime")
    for other in range(len(traces)):
        if other != at:
            drawing.again(keys[other], drawing.group("ghost"))
    group = drawing.group(f"s{trace.style}")
    drawing.path(_line(trace, x, y), "", drawing.group("line", group), key=keys[at])
    _marks(drawing, trace, x, y)
    return drawing.markup()


def _line(trace: Trace, x: Scale, y: Scale) -> str:
    points = thin(trace.timeline.points, _MOST_POINTS)
    places = [f"{number(x(ms))} {number(y(size / _MEGA))}" for ms, size in points]
    unique = [place for n, place in enumerate(places) if n == 0 or place != places[n - 1]]
    return "M" + " ".join(unique) if unique else ""


def _marks(drawing: Drawing, trace: Trace, x: Scale, y: Scale) -> None:
    """Numbers in a row above; what they stand for is in the caption."""
    wanted = [x(ms) for ms, _ in trace.timeline.marks]
    placed: list[float] = []
    reached = []
    for number_, at in enumerate(wanted):
        behind = _RIGHT - 17 * (len(wanted) - 1 - number_)
        placed.append(min(max(at, placed[-1] + 17 if placed else 0), behind))
    for n, (at, shown) in enumerate(zip(wanted, placed, strict=True), 1):
        path = f"M{number(shown)} 32L{number(at)} {number(_TOP)}V{number(_HEIGHT - _BOTTOM)}"
        drawing.path(path, "stage")
        drawing.path(f"M{number(shown - 7)} 25a7 7 0 1 0 14 0a7 7 0 1 0-14 0z", "number")
        drawing.text(shown, 29, str(n), "number-text", "middle")
        value = at_time(trace.timeline, trace.timeline.marks[n - 1][0])
        if value is not None:
            reached.append((at, y(value / _MEGA)))
    drawing.marks(reached, 0, drawing.group(f"s{trace.style}"))


def _describe(trace: Trace) -> str:
    sizes = [size for _, size in trace.timeline.points]
    peak = f"highest {max(sizes) / _MEGA:.1f} MB" if sizes else "no points"
    stages = "; ".join(f"{stage} ended at {ms:.0f} ms" for ms, stage in trace.timeline.marks)
    return f"{trace.name}: {peak} above the bare runtime. {stages}"
