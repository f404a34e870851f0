"""Charts of lines: latency with whiskers, and memory over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ..report import Timeline
from .svg import colour, key_of, new_figure, to_svg
from .words import short_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_MEGA = 1e6
_MARKERS = ("o●", "s■", "^▲", "D◆")  # matplotlib's and, in the key, the page's
_SMALL = 11.0
_MOST_POINTS = 120  # a line's; twice as many cannot be told apart on a screen


@dataclass(frozen=True)
class Line:
    """``points`` are (x, y, top of the whisker), x rising."""

    name: str
    style: int
    points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Trace:
    """A model's timeline."""

    name: str
    style: int
    timeline: Timeline


def draw_lines(
    key: str, title: str, lines: Sequence[Line], x_label: str, y_label: str, description: str
) -> Markup:
    """Both axes logarithmic where the values span much; y else from 0."""
    with new_figure(220) as figure:
        axes = figure.add_subplot()
        places = sorted({point[0] for line in lines for point in line.points})
        tops = [y for line in lines for point in line.points for y in point[1:]]
        x_log, y_log = serves_log(places, least=4), serves_log(tops, least=8)
        width = places[-1] / places[0] if x_log else places[-1] - places[0]
        for at, line in enumerate(lines):
            share = 0.015 * (at - (len(lines) - 1) / 2)  # so that whiskers stand side by side
            x, y, top = (list(values) for values in zip(*line.points, strict=True))
            x = [one * width**share if x_log else one + width * share for one in x]
            paint = colour(f"s{line.style}")
            axes.plot(
                [one for one in x for _ in range(3)],
                [one for pair in zip(y, top, strict=True) for one in (*pair, math.nan)],
                color=paint,
                linewidth=1.3,
                solid_capstyle="butt",
                clip_on=False,
            )
            axes.plot(
                x,
                y,
                marker=_MARKERS[line.style % len(_MARKERS)][0],
                color=paint,
                markeredgecolor=colour("card"),
                markersize=8,
                linewidth=2,
                clip_on=False,
            )
        _scale(axes.xaxis, places, log=x_log)
        room = width**0.05 if x_log else 0.05 * (width or 1)
        axes.set_xlim(
            *(
                (places[0] / room, places[-1] * room)
                if x_log
                else (places[0] - room, places[-1] + room)
            )
        )
        _scale(axes.yaxis, [min(tops) / 1.15, max(tops) * 1.05] if y_log else tops, log=y_log)
        axes.set_xticks(places)
        _frame(axes, *(_axis_label(*one) for one in ((x_label, x_log), (y_label, y_log))))
        svg = to_svg(figure, key, title, description)
    return svg + key_of(
        (f"s{line.style}", _MARKERS[line.style % len(_MARKERS)][1], line.name) for line in lines
    )


def draw_timelines(key: str, traces: Sequence[Trace]) -> list[Markup]:
    """A panel each, all on the same scales; the other models' lines are there too, faint."""
    return [_panel(f"{key}-{at}", trace, traces) for at, trace in enumerate(traces)]


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


def serves_log(values: Sequence[float], least: float) -> bool:
    """Whether values span so much that a linear axis would hide the small ones."""
    return min(values, default=0) > 0 and max(values) >= least * min(values)


def apart(wanted: Sequence[float], room: float, high: float) -> list[float]:
    """Rising places near the wanted ones, ``room`` apart, none beyond ``high``."""
    placed: list[float] = []
    for at, one in enumerate(wanted):
        behind = high - room * (len(wanted) - 1 - at)
        placed.append(min(max(one, placed[-1] + room if placed else one), behind))
    return placed


def _panel(key: str, trace: Trace, traces: Sequence[Trace]) -> Markup:
    times = [ms for one in traces for ms, _ in one.timeline.points]
    marks = [ms for one in traces for ms, _ in one.timeline.marks if ms > 0]
    end = max([*times, *marks], default=1.0)
    first = min(marks, default=end)
    # A load of a tenth of a second before seconds of calls would be a sliver.
    log = end > 15 * first
    with new_figure(230) as figure:
        axes = figure.add_subplot()
        _scale(axes.xaxis, [max(1.0, first / 20) if log else 0.0, end], log=log)
        for one in sorted(traces, key=lambda other: other is trace):
            points = thin(one.timeline.points, _MOST_POINTS if one is trace else _MOST_POINTS // 3)
            axes.plot(
                [max(ms, axes.get_xlim()[0]) for ms, _ in points],
                [size / _MEGA for _, size in points],
                color=colour(f"s{one.style}" if one is trace else "muted"),
                linewidth=2 if one is trace else 1.2,
                alpha=1 if one is trace else 0.45,
                clip_on=False,
            )
        _scale(axes.yaxis, [size / _MEGA for one in traces for _, size in one.timeline.points])
        _frame(
            axes, _axis_label("ms since the start of the load", log), "MB above the bare runtime"
        )
        axes.set_title(
            axes.get_title("left"), loc="left", fontsize=_SMALL, pad=26, color=colour("muted")
        )
        _stages(axes, trace)
        return to_svg(figure, key, f"Memory of {trace.name} over time", _describe_trace(trace))


def _stages(axes: "Axes", trace: Trace) -> None:
    """Numbers in a row above; what they stand for is in the caption."""
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [ms for ms, _ in trace.timeline.marks]
    wanted = [float(to_axes.transform((ms, 0))[0]) for ms in ends]
    shown = apart(wanted, 0.06, 1.0)
    for at, above in zip(wanted, shown, strict=True):
        axes.plot(
            [at, at, above],
            [0, 1, 1.09],
            color=colour("muted"),
            linewidth=1,
            linestyle=(0, (2, 3)),
            transform=axes.transAxes,
            clip_on=False,
        )
    dots: Any = {"linestyle": "none", "marker": "o", "clip_on": False}
    axes.plot(
        shown,
        [1.09] * len(shown),
        **dots,
        markersize=14,
        markeredgewidth=0,
        color=colour("ink"),
        transform=axes.transAxes,
    )
    for number, above in enumerate(shown, 1):
        axes.text(
            above,
            1.085,
            str(number),
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=colour("card"),
            transform=axes.transAxes,
        )
    reached = [(ms, value) for ms in ends if (value := at_time(trace.timeline, ms)) is not None]
    axes.plot(
        [ms for ms, _ in reached],
        [value / _MEGA for _, value in reached],
        **dots,
        markersize=8,
        color=colour(f"s{trace.style}"),
        markeredgecolor=colour("card"),
    )


def _scale(axis: "Axis", values: Sequence[float], *, log: bool = False) -> None:
    """From 0, or from below where values are negative; or logarithmic over the values."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    low, high = min(values, default=0.0), max(values, default=1.0)
    across = axis is axis.axes.xaxis
    limit = axis.axes.set_xlim if across else axis.axes.set_ylim
    if log:
        (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
        wide = high > 300 * low
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
        limit(low, high)
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        limit(min(low, 0.0), high if high > min(low, 0.0) else 1.0)
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_digits(value)))
    axis.axes.minorticks_off()


def _frame(axes: "Axes", x_label: str, y_label: str) -> None:
    """Faint lines across, and what the axes say; ``y_label`` stands above its ticks."""
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(colour("muted"))
    axes.spines["bottom"].set_linewidth(1)
    axes.grid(axis="y", color=colour("faint"), linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=_SMALL, labelcolor=colour("muted"), length=0, pad=6)
    axes.set_xlabel(x_label, fontsize=_SMALL, color=colour("muted"))
    axes.set_title(y_label, loc="left", fontsize=_SMALL, color=colour("muted"))


def _axis_label(label: str, log: bool) -> str:
    return f"{label}, logarithmic" if log else label


def _describe_trace(trace: Trace) -> str:
    sizes = [size for _, size in trace.timeline.points]
    peak = f"highest {max(sizes) / _MEGA:.1f} MB" if sizes else "no points"
    stages = "; ".join(f"{stage} ended at {ms:.0f} ms" for ms, stage in trace.timeline.marks)
    return f"{trace.name}: {peak} above the bare runtime. {stages}"
