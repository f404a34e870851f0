"""Bars in groups, each with its name and its value beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import WIDTH, Drawing, fit, text_width

_NAME, _VALUE = 112.0, 70.0  # units, the most for names at the left; for values at the right
_HEAD_ROOM = 64.0  # at least, so that a place's name and why it has no bars stand side by side
_ROW, _HEAD, _GAP, _THICK = 19.0, 20.0, 10.0, 11.0


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


def draw_bars(key: str, title: str, groups: Sequence[BarGroup]) -> Markup:
    """All bars of all groups on one scale from 0."""
    height = sum(_HEAD + _ROW * len(_rows(group)) + _GAP for group in groups) - _GAP
    drawing = Drawing(key, title, describe(groups), height)
    highs = [bar.high for group in groups for bar in group.bars if bar.value is not None]
    top = max(highs, default=0.0) or 1.0
    named = [fit(bar.name, _NAME) for group in groups for bar in _rows(group)]
    start = max([_HEAD_ROOM, *map(text_width, named)]) + 8
    unit = (WIDTH - _VALUE - start) / top  # the longest bar takes all there is
    y = 0.0
    for group in groups:
        rows = _rows(group)
        drawing.text(
            0, y + 14, fit(group.name, WIDTH / 2 if rows else start, 12.5, bold=True), "head"
        )
        if group.aside:
            drawing.text(WIDTH, y + 14, fit(group.aside, WIDTH / 2 - 10, 11), "small", "end")
        if not rows:
            drawing.text(start + 6, y + 14, group.bars[0].text if group.bars else "", "absent")
        y += _HEAD
        drawing.line(start, y, start, y + _ROW * len(rows), "axis")
        for bar in rows:
            _draw(drawing, bar, y, start, unit)
            y += _ROW
        y += _GAP
    return drawing.markup()


def describe(groups: Sequence[BarGroup]) -> str:
    """The bars as sentences."""
    return " ".join(
        f"{group.name}{f' ({group.aside})' if group.aside else ''}: "
        + "; ".join(f"{bar.name} {bar.text}" for bar in group.bars)
        + "."
        for group in groups
    )


def _rows(group: BarGroup) -> tuple[Bar, ...]:
    """None if all bars are absent for the same reason: the heading then says it once."""
    same = len({bar.text for bar in group.bars}) <= 1
    return () if same and all(bar.value is None for bar in group.bars) else group.bars


def _draw(drawing: Drawing, bar: Bar, y: float, start: float, unit: float) -> None:
    middle = y + _ROW / 2
    drawing.text(start - 6, middle + 4, fit(bar.name, _NAME), "", "end")
    if bar.value is None:
        drawing.text(start + 6, middle + 4, bar.text, "absent")
        return
    group = drawing.group(f"s{bar.style}")
    end = start + unit * max(bar.value, 0)
    drawing.rect(start, middle - _THICK / 2, end - start, _THICK, "bar", group, hover=bar.name)
    reach = max(end, start + unit * max(bar.high, 0))
    if reach - end > 1 or unit * (bar.high - bar.low) > 2:
        low = start + unit * max(bar.low, 0)
        drawing.line(low, middle, reach, middle, "whisker")
    drawing.text(reach + 5, middle + 4, bar.text, "value")
