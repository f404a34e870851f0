"""The picture of a sweep: bytes of the whole bundle against quality kept, one line a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.files import write_aside
from toolkit.visible import visible

from .results import Score
from .rows import Overview, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#6b6b6b"
# Okabe & Ito's colours, told apart by colour-blind readers; shapes tell the same once more.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*X"
_LABELLED = 24  # points of a panel, at most, that have their settings beside them
_PANELS = 3


@dataclass(frozen=True)
class Point:
    """A cell in a panel: bytes of the bundle, quality kept in per cent, what was tried."""

    nbytes: int
    kept: float
    label: str


def kept(score: Score, original: Score | None) -> float | None:
    """How much of the original's quality is left, in per cent; None where that has no meaning.

    What is better if higher is divided by the original's; of what is better if lower it is the
    other way round. A cosine to the original is times 100, an agreement with it is what it is.
    """
    value = score.score.value
    if value is None:
        return None
    if original is None:
        if not score.higher_is_better:
            return None
        return 100 * value if score.metric.startswith("cosine") else value
    base = original.score.value
    if base is None or base <= 0 or value <= 0:
        return None
    return 100 * (value / base if score.higher_is_better else base / value)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats with fewer bytes or as many, from small to large."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.nbytes, -one.kept)):
        if not best or point.kept > best[-1].kept:
            best.append(point)
    return best


def points_of(view: Overview, metric: str) -> dict[str, list[Point]]:
    """By model."""
    found: dict[str, list[Point]] = {}
    for row in view.rows:
        score = row.scores.get(metric)
        if row.what or row.error is not None or score is None or row.bundle_bytes is None:
            continue
        share = kept(score, _original(view, row, metric))
        if share is not None:
            label = " ".join(_label(*pair) for pair in row.settings.items())
            found.setdefault(row.model, []).append(Point(row.bundle_bytes, share, label))
    return found


def _original(view: Overview, cell: Row, metric: str) -> Score | None:
    """The original's score, by which the cell's change is told."""
    score = cell.scores[metric]
    if score.difference is None or score.difference.value is None or score.score.value is None:
        return None
    wanted = score.score.value - score.difference.value
    others = (
        row.scores[metric]
        for row in view.rows
        if row.model == cell.model and row.what == "original" and metric in row.scores
    )
    return min(others, key=lambda one: abs((one.score.value or 0.0) - wanted), default=None)


def title_of(view: Overview, metric: str) -> str:
    """What a panel shows in per cent."""
    score = next(row.scores[metric] for row in view.rows if metric in row.scores and not row.what)
    name = visible(metric)
    if score.difference is None:
        return f"{name}, x 100" if score.metric.startswith("cosine") else name
    if score.higher_is_better:
        return f"{name}, per cent of the original's"
    return f"the original's {name}, per cent of the bundle's"


def _label(option: str, value: str) -> str:
    if option.endswith("ratio"):
        return f"{value}x"
    return f"{option}={value}" if value in ("true", "false") else value


def draw(view: Overview, path: Path) -> bool:
    """Write ``path``, an .svg; whether there was anything to draw."""
    panels = {metric: points_of(view, metric) for metric in view.metrics}
    panels = {metric: points for metric, points in panels.items() if points}
    if not panels:
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    metrics = list(panels)[:_PANELS]
    models = list(dict.fromkeys(model for points in panels.values() for model in points))
    with mpl.rc_context({"font.size": 10, "svg.hashsalt": "lighttoken", "svg.fonttype": "path"}):
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(max(6.4, 4.8 * len(metrics)), 4.8), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axis, metric in zip(axes[0], metrics, strict=True):
            _draw_panel(axis, title_of(view, metric), panels[metric], models)
        named = {
            label: handle
            for axis in axes[0]
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        if any(len(frontier(own)) < len(own) for each in panels.values() for own in each.values()):
            hollow = mpl.lines.Line2D([], [], ls="", marker="o", mfc="white", color=_GREY, ms=6.5)
            named["another setting keeps more in fewer bytes"] = hollow
        figure.legend(
            named.values(), named, loc="outside lower center", ncols=3, frameon=False, fontsize=9
        )
        with write_aside(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None})
        plt.close(figure)
    return True


def _draw_panel(
    axis: "Axes", title: str, by_model: dict[str, list[Point]], models: Sequence[str]
) -> None:
    every = [point for points in by_model.values() for point in points]
    for model, points in by_model.items():
        at = models.index(model)
        style: dict[str, Any] = {
            "color": _COLOURS[at % len(_COLOURS)],
            "marker": _MARKERS[at % len(_MARKERS)],
        }
        best = frontier(points)
        axis.plot(
            [one.nbytes for one in best],
            [one.kept for one in best],
            label=visible(model),
            lw=1.8,
            ms=6.5,
            zorder=3,
            **style,
        )
        rest = [one for one in points if one not in best]
        axis.plot(
            [one.nbytes for one in rest],
            [one.kept for one in rest],
            ls="",
            mfc="white",
            ms=6.5,
            zorder=2,
            **style,
        )
    axis.axhline(100, color=_GREY, lw=1, ls=":")
    _scale(axis, every)
    if len(every) <= _LABELLED:
        _label_points(axis, every)
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_ylabel("quality kept")
    axis.set_xlabel("bytes of the bundle")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e4e4e4", lw=0.6)
    axis.set_axisbelow(True)


def _label_points(axis: "Axes", points: Sequence[Point]) -> None:
    """What was tried beside each point, where there is room that nothing else takes."""
    scale = axis.figure.dpi / 72  # pixels of a point of type
    places = [tuple(axis.transData.transform((one.nbytes, one.kept))) for one in points]
    taken = [_Box(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in places]
    for point, (x, y) in zip(points, places, strict=True):
        text = visible(point.label)
        wide, high = 4.6 * len(text) * scale, 9 * scale
        for right, below in ((True, True), (False, False), (True, False), (False, True)):
            left = x + 5 * scale if right else x - 5 * scale - wide
            bottom = y - 12 * scale if below else y + 5 * scale
            box = _Box(left, bottom, left + wide, bottom + high)
            if any(box.meets(other) for other in taken):
                continue
            taken.append(box)
            axis.annotate(
                text,
                (point.nbytes, point.kept),
                xytext=(5 if right else -5, -11 if below else 6),
                textcoords="offset points",
                ha="left" if right else "right",
                fontsize=8,
                color=_GREY,
            )
            break


@dataclass(frozen=True)
class _Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.top <= other.bottom or other.top <= self.bottom)


def _scale(axis: "Axes", points: Sequence[Point]) -> None:
    """A logarithmic scale of bytes with few marks, and room around the points."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = (end([one.nbytes for one in points]) for end in (min, max))
    room = max(1.12, (high / low) ** 0.12)
    axis.set(xscale="log", xlim=(low / room, high * room**1.6))
    axis.xaxis.set_major_locator(FixedLocator(marks(low / room, high * room**1.6)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda nbytes, _: short_size(nbytes)))
    worst, best = (end([100.0, *(one.kept for one in points)]) for end in (min, max))
    space = max(best - worst, 1.0)
    axis.set_ylim(worst - 0.14 * space, best + 0.08 * space)


def marks(low: float, high: float) -> list[float]:
    """Two to six round numbers between these, about as far apart on the scale where that can be."""
    from matplotlib.ticker import MaxNLocator

    if high < 3 * low:
        values = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(value) for value in values if low <= value <= high]
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**power for power in range(16) for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            break
    return found[:: -(-len(found) // 6)]


def short_size(nbytes: float) -> str:
    """Round bytes for people: 500 kB, 1.5 MB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.4g} {unit}"
    return f"{nbytes:.4g} B"
