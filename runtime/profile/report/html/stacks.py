"""Stacked bars: what a whole is made of, beside other wholes on the same scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import WIDTH, Drawing, fit, text_width

_LINE, _THICK, _KEY_ROW, _SWATCH = 18.0, 22.0, 19.0, 13.0
_NAME_SIZE = 12.5
_COLOURS = 6  # of the style


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

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return sum(share.value for share in self.shares)


def draw_stacks(key: str, title: str, stacks: Sequence[Stack]) -> Markup:
    """A bar a whole, its parts named and counted right below it."""
    keys = [_key_rows(stack.shares) for stack in stacks]
    beside = [_fits_beside(stack) for stack in stacks]
    lines = sum(1 if fits else 2 for fits in beside) * _LINE + sum(map(len, keys)) * _KEY_ROW
    height = lines + (_THICK + 20) * len(stacks) - 16
    described = " ".join(
        f"{stack.name}: {stack.text}, of these "
        + ", ".join(f"{share.name} {share.text}" for share in stack.shares)
        + "."
        for stack in stacks
    )
    drawing = Drawing(key, title, described, height)
    unit = WIDTH / (max((stack.total for stack in stacks), default=0.0) or 1.0)
    y = 0.0
    for stack, rows, fits in zip(stacks, keys, beside, strict=True):
        drawing.text(0, y + 12, fit(stack.name, WIDTH, _NAME_SIZE, bold=True), "head")
        y += 0 if fits else _LINE
        drawing.text(WIDTH if fits else 0, y + 12, stack.text, "value", "end" if fits else "")
        y += _LINE
        _draw(drawing, stack, y, unit)
        y += _THICK + 6
        for row in rows:
            for x, share in row:
                _swatch(drawing, x, y, share)
            y += _KEY_ROW
        y += 14
    return drawing.markup()


def _fits_beside(stack: Stack) -> bool:
    """Whether name and text have room on one line."""
    name = text_width(stack.name, _NAME_SIZE, bold=True)
    return name + 12 + text_width(stack.text, bold=True) <= WIDTH


def _draw(drawing: Drawing, stack: Stack, y: float, unit: float) -> None:
    x = 0.0
    for share in stack.shares:
        width = unit * share.value
        gap = 1.0 if width > 3 else 0.0  # a seam, so that neighbours differ without colour
        group = drawing.group(f"p{(share.number - 1) % _COLOURS + 1}")
        hover = f"{share.name} {share.text}"
        drawing.rect(x, y, width - gap, _THICK, "bar", group, hover=hover)
        if width >= 14:
            drawing.text(x + width / 2, y + 15.5, str(share.number), "on", "middle", group)
        x += width


def _swatch(drawing: Drawing, x: float, y: float, share: Share) -> None:
    group = drawing.group(f"p{(share.number - 1) % _COLOURS + 1}")
    drawing.rect(x, y, _SWATCH, _SWATCH, "bar", group)
    drawing.text(x + _SWATCH / 2, y + 10.5, str(share.number), "on small", "middle", group)
    drawing.text(x + _SWATCH + 5, y + 11, f"{share.name} {share.text}")


def _key_rows(shares: Sequence[Share]) -> list[list[tuple[float, Share]]]:
    """Keys with where each starts, in as many rows as they need."""
    rows: list[list[tuple[float, Share]]] = [[]]
    x = 0.0
    for share in shares:
        width = _SWATCH + 5 + text_width(f"{share.name} {share.text}")
        if x and x + width > WIDTH:
            rows.append([])
            x = 0.0
        rows[-1].append((x, share))
        x += width + 12
    return rows
