"""The picture of the results: ratio against quality, one line a method."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from downstream.report import Group, Line
from downstream.tables import HEALED, INT4, UNCOMPRESSED
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_GREY = "#6b6b6b"
# Okabe & Ito's colours; markers and dashes tell the same once more, in black and white.
_STYLES = {
    HEALED: ("#D55E00", "D", "-", "LightToken, healed"),
    "lighttoken": ("#D55E00", "o", "--", "LightToken"),
    "lighttoken-paper": ("#E69F00", "s", "-", "LightToken as in the paper"),
    "svd": ("#56B4E9", "v", "--", "SVD, int8 factors"),
    "direction": ("#444444", "P", ":", "Direction (2021)"),
    INT4: ("#000000", "*", "", "int4, round to nearest"),
}
_BEFORE = "STS before training"


def draw(groups: Sequence[Group], path: Path) -> bool:
    """Write ``path`` with the suffixes .svg and .png; False where there is nothing to draw."""
    shared = [group for group in groups if _shared(group)]
    # A group of one ratio is a table, not a curve: drawn only where no other is there.
    shared = [group for group in shared if _many_ratios(group)] or shared
    panels: list[tuple[str, Group, Callable[[Line], float | None]]] = [
        (panel_title(group), group, _average_of(group)) for group in shared
    ]
    most = max(groups, key=lambda group: sum(line.sts is not None for line in group.lines))
    if any(line.sts is not None for line in most.lines):
        panels.insert(0, (_BEFORE, most, _sts))
    if not panels:
        return False
    style: Any = {"font.size": 10, "svg.hashsalt": "lighttoken", "svg.fonttype": "path"}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.8 * len(panels), 4.8), squeeze=False, layout="constrained"
        )
        handles: dict[str, Artist] = {}
        for axis, (title, group, value) in zip(axes[0], panels, strict=True):
            _draw_panel(axis, group, value)
            axis.set_title(title, loc="left", fontsize=11)
            own, labels = axis.get_legend_handles_labels()
            handles |= dict(zip(map(str, labels), own, strict=True))
        axes[0][0].set_ylabel("score x 100")
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=min(3 if len(panels) > 1 else 2, len(handles) or 1),
            frameon=False,
            fontsize=9,
        )
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=150)
        plt.close(figure)
    return True


def panel_title(group: Group) -> str:
    """What a panel shows: its mode, and the tasks that its averages are over."""
    return f"After training, tables {group.table}: {', '.join(_shared(group))}"


def _shared(group: Group) -> list[str]:
    """The tasks that every arm was trained on: averages of others do not compare."""
    return [task for task in group.tasks if all(task in line.cells for line in group.lines)]


def _many_ratios(group: Group) -> bool:
    return len({line.asked for line in group.lines} - {None}) > 1


def _average_of(group: Group) -> Callable[[Line], float | None]:
    tasks = _shared(group)
    return lambda line: mean(line.cells[task].mean for task in tasks)


def _sts(line: Line) -> float | None:
    return line.sts


def _draw_panel(axis: Axes, group: Group, value: Callable[[Line], float | None]) -> None:
    points: dict[str, list[tuple[float, float]]] = {}
    for line in group.lines:
        if (found := value(line)) is not None:
            points.setdefault(line.method, []).append((line.ratio, found))
    as_it_is = points.pop(UNCOMPRESSED, [])
    for method in sorted(points, key=lambda name: [*_STYLES, name].index(name)):
        colour, marker, dashes, label = _STYLES.get(method, (_GREY, ".", "-", method))
        axis.plot(
            *zip(*sorted(points[method]), strict=True),
            color=colour,
            marker=marker,
            ls=dashes,
            label=label,
            lw=1.8,
            ms=10 if method == INT4 else 6,
            mfc="white" if method == HEALED else colour,
        )
    for _, score in as_it_is:
        axis.axhline(score, color=_GREY, lw=1, ls="-.")
        axis.annotate(
            f"uncompressed {score:.1f}",
            (0.99, score),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=_GREY,
            fontsize=9,
        )
    ratios = [ratio for each in points.values() for ratio, _ in each] or [1.0]
    low, high = min(ratios) * 0.8, max(ratios) * 1.25
    axis.set(xscale="log", xlim=(low, high))
    ticks = [tick for tick in (5, 7, 10, 25, 50, 103) if low <= tick <= high]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x"))
    axis.set_xlabel("float32 bytes of the table over its bytes")
    axis.margins(y=0.08)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e4e4e4", lw=0.6)
    axis.set_axisbelow(True)
