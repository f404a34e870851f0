"""Charts of bars: in groups, and stacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from .svg import SHARES, WIDTH, colour, hover, key_of, new_figure, to_svg
from .words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALL = 11.0
_LONGEST = 18  # letters of a model's name beside its bar


@dataclass(frozen=True)
class Bar:
    """``value`` is None where there is none, and ``text`` says why; low and high: a whisker."""

    name: str
    style: int
    text: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class BarGroup:
    """Bars under one heading; ``aside`` stands beside it in small letters."""

    name: str
    aside: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Share:
    """A part; ``number`` names it in the bar and in the key below, and chooses its colour."""

    number: int
    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Stack:
    """A whole with its ``text`` at the right."""

    name: str
    text: str
    shares: tuple[Share, ...]


def draw_bars(key: str, title: str, groups: Sequence[BarGroup]) -> Markup:
    """All bars of all groups on one scale from 0."""
    row, head, gap = 19.0, 20.0, 10.0
    rows = [_rows(group) for group in groups]
    height = sum(head + row * len(bars) + gap for bars in rows) - gap
    with new_figure(height) as figure:
        axes = _plain_axes(figure, height)
        names: list[tuple[float, str]] = []
        y = 0.0
        for group, bars in zip(groups, rows, strict=True):
            _heading(axes, y + 10, shorten(group.name, 22), group.aside)
            if not bars and group.bars:
                _aside(axes, y + 10, group.bars[0].text)
            y += head
            for bar in bars:
                names.append((y + row / 2, shorten(bar.name, _LONGEST)))
                _bar(axes, bar, y + row / 2)
                y += row
            if bars:
                axes.vlines(0, y - row * len(bars), y, color=colour("muted"), linewidth=1)
            y += gap
        highs = [bar.high for bars in rows for bar in bars if bar.value is not None]
        axes.set_xlim(0, max(highs, default=0.0) or 1.0)
        axes.set_yticks([at for at, _ in names], [name for _, name in names])
        axes.tick_params(length=0, labelcolor=colour("ink"), pad=6)
        return to_svg(figure, key, title, _describe_bars(groups))


def draw_stacks(key: str, title: str, stacks: Sequence[Stack]) -> Markup:
    """A bar a whole, all on one scale; the key of their parts once, below."""
    line, thick, gap = 18.0, 22.0, 16.0
    height = (line + thick + gap) * len(stacks) - gap
    named = {share.number: share for stack in stacks for share in stack.shares}
    alone = len(stacks) == 1
    with new_figure(height) as figure:
        axes = _plain_axes(figure, height)
        total = max((sum(one.value for one in stack.shares) for stack in stacks), default=0) or 1
        axes.set_xlim(0, total)
        for at, stack in enumerate(stacks):
            y = at * (line + thick + gap)
            _heading(axes, y + 8, shorten(stack.name, 20), stack.text, strong=True)
            left = 0.0
            for share in stack.shares:
                _share(axes, share, left, y + line + thick / 2, thick, WIDTH * share.value / total)
                left += share.value
        svg = to_svg(figure, key, title, _describe_stacks(stacks))
    return svg + key_of(
        (f"share p{_paint(number)}", str(number), f"{share.name} {share.text if alone else ''}")
        for number, share in sorted(named.items())
    )


def _plain_axes(figure: "Figure", height: float) -> "Axes":
    """Axes without a frame; down them go units of the page, from the top."""
    axes = figure.add_subplot()
    axes.set_ylim(height, 0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _heading(axes: "Axes", y: float, name: str, aside: str, *, strong: bool = False) -> None:
    """``name`` at the figure's left end, ``aside`` at its right."""
    from matplotlib.transforms import blended_transform_factory

    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    head = {"fontsize": 12.5, "fontweight": "bold", "color": colour("ink")}
    small = {"fontsize": _SMALL, "color": colour("muted")}
    for x, text, side, style in (
        (0, name, "left", head),
        (1, aside, "right", {**head, "fontsize": 12} if strong else small),
    ):
        shown = axes.text(x, y, text, ha=side, va="center", transform=across, **style)  # type: ignore[arg-type]
        shown.set_in_layout(False)


def _aside(axes: "Axes", y: float, text: str) -> None:
    """Why there is no bar, where the bar would start."""
    axes.annotate(
        text,
        (0, y),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontstyle="italic",
        color=colour("muted"),
    )


def _rows(group: BarGroup) -> tuple[Bar, ...]:
    """None if all bars are absent for the same reason: the heading then says it once."""
    same = len({bar.text for bar in group.bars}) <= 1
    return () if same and all(bar.value is None for bar in group.bars) else group.bars


def _bar(axes: "Axes", bar: Bar, y: float) -> None:
    if bar.value is None:
        _aside(axes, y, bar.text)
        return
    paint = colour(f"s{bar.style}")
    axes.barh(y, max(bar.value, 0), 11, color=paint, gid=hover(f"{bar.name} {bar.text}"))
    axes.hlines(y, max(bar.low, 0), max(bar.high, 0), color=paint, linewidth=1.3)
    axes.annotate(
        bar.text,
        (max(bar.value, bar.high, 0), y),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontweight="bold",
        color=colour("ink"),
    )


def _share(axes: "Axes", share: Share, left: float, y: float, thick: float, width: float) -> None:
    """One part of a stack, ``width`` units of the page wide."""
    number = _paint(share.number)
    axes.barh(
        y,
        share.value,
        thick,
        left,
        color=colour(f"p{number}"),
        edgecolor=colour("card"),  # a seam, so that neighbours differ without colour
        linewidth=1 if width > 3 else 0,
        gid=hover(f"{share.name} {share.text}"),
    )
    if width >= 14:
        axes.text(
            left + share.value / 2,
            y,
            str(share.number),
            ha="center",
            va="center",
            fontweight="bold",
            color=colour(f"on{number}"),
        )


def _paint(number: int) -> int:
    """The colour of the part of that number."""
    return (number - 1) % SHARES + 1


def _describe_bars(groups: Sequence[BarGroup]) -> str:
    """The bars as sentences."""
    return " ".join(
        f"{group.name}{f' ({group.aside})' if group.aside else ''}: "
        + "; ".join(f"{bar.name} {bar.text}" for bar in group.bars)
        + "."
        for group in groups
    )


def _describe_stacks(stacks: Sequence[Stack]) -> str:
    return " ".join(
        f"{stack.name}: {stack.text}, of these "
        + ", ".join(f"{share.name} {share.text}" for share in stack.shares)
        + "."
        for stack in stacks
    )
