"""Lines with their names at their ends, and whiskers up to a higher share of the calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .scale import Scale, linear, logarithmic, serves_log
from .svg import WIDTH, Drawing, fit, number, text_width
from .words import short_digits

_LEFT, _TOP, _BOTTOM, _HEIGHT = 40.0, 24.0, 36.0, 224.0
_LABEL, _LABEL_ROW = 112.0, 15.0
_DODGE = 5.0  # between the whiskers of neighbours


@dataclass(frozen=True)
class Line:
    """``points`` are (x, y, top of the whisker), x rising."""

    name: str
    style: int
    points: tuple[tuple[float, float, float], ...]


def draw_lines(
    key: str, title: str, lines: Sequence[Line], x_label: str, y_label: str, description: str
) -> Markup:
    """Both axes logarithmic where the values span much; y else from 0."""
    drawing = Drawing(key, title, description, _HEIGHT)
    names = [fit(line.name, _LABEL, bold=True) for line in lines]
    right = WIDTH - max(text_width(name, bold=True) for name in names) - 7
    bottom = _HEIGHT - _BOTTOM
    tops = [y for line in lines for point in line.points for y in point[1:]]
    scaled = logarithmic if serves_log(tops, least=8) else linear
    y_scale = scaled(tops, bottom, _TOP + 6)
    x_scale = _x_scale(sorted({point[0] for line in lines for point in line.points}), right)
    labels = [
        f"{label}, logarithmic" if scale.log else label
        for scale, label in ((x_scale, x_label), (y_scale, y_label))
    ]
    draw_frame(drawing, x_scale, y_scale, right, bottom, labels[0], labels[1])
    ends = []
    for at, line in enumerate(lines):
        shift = _DODGE * (at - (len(lines) - 1) / 2)
        ends.append(_draw(drawing, line, shift, x_scale, y_scale))
    for (x, y), label_y, name, line in zip(
        ends, spread([y for _, y in ends], _TOP, bottom), names, lines, strict=True
    ):
        group = drawing.group(f"s{line.style}")
        drawing.line(x + 6, y, right + 4, label_y, "leader", group)
        drawing.text(right + 7, label_y + 4, name, "named", parent=group)
    return drawing.markup()


def draw_frame(
    drawing: Drawing,
    x: Scale,
    y: Scale,
    right: float,
    bottom: float,
    x_label: str,
    y_label: str,
) -> None:
    """Grid, ticks and what the axes say; ``y_label`` stands above its ticks."""
    drawing.text(0, 11, y_label, "small")
    for tick in y.ticks:
        drawing.line(_LEFT, y(tick), right, y(tick), "grid-line")
        drawing.text(_LEFT - 5, y(tick) + 4, short_digits(tick), "tick", "end")
    last = -WIDTH
    for tick in x.ticks:
        at, half = x(tick), text_width(short_digits(tick), 11) / 2
        drawing.line(at, bottom, at, bottom + 4, "axis")
        if at - half > last + 4:
            drawing.text(at, bottom + 16, short_digits(tick), "tick", "middle")
            last = at + half
    drawing.line(_LEFT, bottom, right, bottom, "axis")
    drawing.text((_LEFT + right) / 2, bottom + 31, x_label, "small", "middle")


def spread(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Places for labels near the wanted ones, in their order, none over another."""
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    placed = list(wanted)
    least = top
    for at in order:
        placed[at] = least = max(wanted[at], least)
        least += _LABEL_ROW
    most = bottom
    for at in reversed(order):
        placed[at] = most = min(placed[at], most)
        most -= _LABEL_ROW
    return placed


def _x_scale(values: Sequence[float], right: float) -> Scale:
    return Scale(
        values[0],
        values[-1],
        _LEFT + 14,
        right - 12,
        tuple(values),
        log=serves_log(values, least=4),
    )


def _draw(
    drawing: Drawing, line: Line, shift: float, x_scale: Scale, y_scale: Scale
) -> tuple[float, float]:
    """Draw it; where it ends."""
    group = drawing.group(f"s{line.style}")
    places = [(x_scale(x) + shift, y_scale(y), y_scale(top)) for x, y, top in line.points]
    whiskers = [
        f"M{number(x)} {number(y)}V{number(top)}M{number(x - 3)} {number(top)}h6"
        for x, y, top in places
        if y - top > 1
    ]
    drawing.path("".join(whiskers), "whisker", group)
    drawing.path("M" + " ".join(f"{number(x)} {number(y)}" for x, y, _ in places), "line", group)
    drawing.marks([(x, y) for x, y, _ in places], line.style, group)
    return places[-1][0], places[-1][1]
