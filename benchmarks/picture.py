"""The picture of a run: rate against quality, one line a method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_GREY = "#6b6b6b"
# Okabe & Ito's colours, told apart by colour-blind readers; shapes tell the same once more.
_STYLES = {
    "lighttoken": ("#D55E00", "o", "LightToken"),
    "lighttoken+tokenizer": ("#D55E00", "D", "LightToken, tokenizer's prior"),
    "lighttoken-paper": ("#E69F00", "o", "LightToken as in the paper"),
    "direction": ("#999999", "P", "Direction (2021)"),
    "svd": ("#56B4E9", "v", "SVD, int8 factors"),
    "svd-fp32": ("#56B4E9", "^", "SVD, fp32 factors"),
    "tensor-train": ("#999999", "x", "Tensor train"),
    "rotation": ("#0072B2", "s", "Rotation + Lloyd-Max"),
    "rtn": ("#000000", "d", "Round to nearest, int2 - int8"),
    "pq": ("#009E73", "<", "PQ"),
    "opq": ("#009E73", ">", "OPQ"),
    "rvq": ("#CC79A7", "h", "RVQ"),
    "lsq": ("#CC79A7", "*", "LSQ"),
}
_OURS = ("lighttoken", "lighttoken+tokenizer")


@dataclass(frozen=True)
class Panel:
    """One axis of quality."""

    key: str
    title: str
    log: bool


_PANELS = (
    Panel("relative_error", "Squared error, every row alike", log=True),
    Panel("weighted_error", "Squared error, rows by frequency", log=True),
    Panel("sts", "STS, Spearman x 100", log=False),
)


def draw(data: dict[str, Any], folder: Path) -> None:
    """Write ``rate_distortion.svg`` and ``.png`` to ``folder``."""
    rows = [row for row in data["rows"] if "error" not in row]
    if not rows:
        return
    panels = [panel for panel in _PANELS if any(panel.key in row for row in rows)]
    style = {"font.size": 10, "svg.hashsalt": "lighttoken", "svg.fonttype": "path"}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.6 * len(panels), 5.4), squeeze=False, layout="constrained"
        )
        for axis, panel in zip(axes[0], panels, strict=True):
            _draw_panel(axis, panel, rows, data)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9
        )
        figure.savefig(folder / "rate_distortion.svg", metadata={"Date": None})
        figure.savefig(folder / "rate_distortion.png", dpi=150)
        plt.close(figure)


def _draw_panel(axis: Axes, panel: Panel, rows: list[dict[str, Any]], data: dict[str, Any]) -> None:
    rates = [row["bits_per_parameter"] for row in rows]
    low, high = min(rates) * 0.85, max(rates) * 1.15
    if panel.key == "relative_error":
        bound = [(rate, error) for rate, error in data["gaussian_bound"] if low <= rate <= high]
        axis.plot(*zip(*bound, strict=True), color=_GREY, lw=1, ls=":", label="Gaussian bound")
    if panel.key == "sts" and data["uncompressed_sts"]:
        _draw_uncompressed(axis, data["uncompressed_sts"], min(row["sts"] for row in rows))
    names = [*dict.fromkeys(row["method"] for row in rows)]
    for name in sorted(names, key=lambda name: (name in _OURS, [*_STYLES, name].index(name))):
        points = sorted(
            (row["bits_per_parameter"], row[panel.key])
            for row in rows
            if row["method"] == name and panel.key in row
        )
        if points:
            _draw_line(axis, name, points)
    axis.set(xscale="log", xlim=(low, high))
    ticks = [tick for tick in (0.31, 0.64, 1.28, 2, 3.2, 4.5, 8.5) if low <= tick <= high]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}\n{32 / rate:.0f}x"))
    axis.set_xlabel("bits per parameter, and ratio to float32")
    axis.set_title(panel.title, loc="left", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e4e4e4", lw=0.6)
    axis.set_axisbelow(True)
    if panel.log:
        axis.set_yscale("log")
        errors = [row[panel.key] for row in rows if row[panel.key] > 0]
        axis.set_ylim(max(0.004, min(errors) * 0.8), 1.15)
        marks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
        axis.yaxis.set_major_locator(FixedLocator(marks))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda mark, _: f"{mark:g}"))


def _draw_uncompressed(axis: Axes, sts: float, lowest: float) -> None:
    """The model as it is; lines that fall more than 20 points below it leave the panel."""
    axis.axhline(sts, color=_GREY, lw=1, ls=":")
    axis.annotate(
        f"uncompressed {sts:.2f}",
        (0.01, sts),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        color=_GREY,
        fontsize=9,
    )
    bottom = max(lowest, sts - 20)
    axis.set_ylim(bottom - 0.5, sts + 0.06 * (sts - bottom) + 0.5)


def _draw_line(axis: Axes, name: str, points: list[tuple[float, float]]) -> None:
    colour, marker, label = _STYLES.get(name, (_GREY, ".", name))
    ours = name in _OURS
    dashed = name in ("rtn", "svd-fp32", "opq", "lsq", "lighttoken+tokenizer", "tensor-train")
    axis.plot(
        *zip(*points, strict=True),
        color=colour,
        marker=marker,
        label=label,
        lw=2.6 if ours else 1.1,
        ms=6.5 if ours else 5,
        mfc="white" if name == "lighttoken+tokenizer" else colour,
        ls="--" if dashed else "-",
        alpha=1.0 if ours else 0.85,
        zorder=3 if ours else 2,
    )
