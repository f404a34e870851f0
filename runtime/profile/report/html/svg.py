"""A small writer of SVG that stands inside a page and takes its colours from the page's style."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from markupsafe import Markup

from .words import shorten

WIDTH = 340.0
"""Units across every chart: as many as a narrow phone has pixels, so that text keeps its size."""

_SHAPES = (  # where the outline begins, seen from the point
    ((-4.0, 0.0), "a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    ((-3.5, -3.5), "h7v7h-7z"),
    ((0.0, -4.5), "l4.5 8h-9z"),
    ((0.0, -5.0), "l5 5l-5 5l-5-5z"),
)

# Widths in font sizes, of the wider ones among the systems' sans serifs (DejaVu, Verdana).
_NARROW, _USUAL, _CAPITAL, _WIDE, _BOLD = 0.38, 0.62, 0.74, 0.98, 1.12


class Drawing:
    """One figure, ``WIDTH`` units wide.

    ``key`` is unique on the page. ``title`` and ``description`` are what a screen reader says.
    """

    def __init__(self, key: str, title: str, description: str, height: float) -> None:
        self._root = ET.Element(
            "svg",
            {
                "viewBox": f"0 0 {number(WIDTH)} {number(height)}",
                "role": "img",
                "aria-labelledby": f"{key}-t {key}-d",
            },
        )
        for tag, text in (("title", title), ("desc", description)):
            ET.SubElement(self._root, tag, {"id": f"{key}-{tag[0]}"}).text = text

    def group(self, style: str, parent: ET.Element | None = None) -> ET.Element:
        """A ``<g>`` of that class."""
        return ET.SubElement(self._parent(parent), "g", {"class": style})

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        style: str = "",
        parent: ET.Element | None = None,
    ) -> None:
        """A straight line."""
        self.path(f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", style, parent)

    def path(
        self, d: str, style: str = "", parent: ET.Element | None = None, key: str = ""
    ) -> None:
        """A path by SVG's own commands."""
        self._add(parent, "path", {"d": d, "class": style, "id": key})

    def again(self, key: str, parent: ET.Element) -> None:
        """The path of that key once more, painted as ``parent`` is."""
        self._add(parent, "use", {"href": f"#{key}"})

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        style: str = "",
        parent: ET.Element | None = None,
        hover: str = "",
    ) -> None:
        """A rectangle; ``hover`` is what a pointer over it shows."""
        box = {"x": x, "y": y, "width": max(width, 0), "height": height}
        place = self._add(parent, "rect", {k: number(v) for k, v in box.items()} | {"class": style})
        if hover:
            ET.SubElement(place, "title").text = hover

    def text(
        self,
        x: float,
        y: float,
        text: str,
        style: str = "",
        anchor: str = "",
        parent: ET.Element | None = None,
    ) -> None:
        """Text on a baseline; ``anchor`` is ``middle`` or ``end``."""
        where = {"x": number(x), "y": number(y), "class": style, "text-anchor": anchor}
        self._add(parent, "text", where).text = text

    def marks(
        self, points: Sequence[tuple[float, float]], shape: int, parent: ET.Element | None = None
    ) -> None:
        """Points: circles, squares, triangles, diamonds, so that series differ without colour."""
        (dx, dy), outline = _SHAPES[shape % len(_SHAPES)]
        d = "".join(f"M{number(x + dx)} {number(y + dy)}{outline}" for x, y in points)
        self.path(d, "mark", parent)

    def markup(self) -> Markup:
        """The ``<svg>``; all text in it is escaped."""
        return Markup(ET.tostring(self._root, encoding="unicode"))

    def _parent(self, parent: ET.Element | None) -> ET.Element:
        return self._root if parent is None else parent

    def _add(self, parent: ET.Element | None, tag: str, attributes: dict[str, str]) -> ET.Element:
        given = {name: value for name, value in attributes.items() if value}
        return ET.SubElement(self._parent(parent), tag, given)


def number(value: float) -> str:
    """One decimal, which is finer than a pixel."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def text_width(text: str, size: float = 12.0, *, bold: bool = False) -> float:
    """How many units ``text`` takes at most, about."""
    widths = [
        _NARROW
        if letter in "fijlrtI.,:;|'!()[]/- "
        else _WIDE
        if letter in "mwMW@%…" or ord(letter) > 0x2E7F  # from there on East Asian signs
        else _CAPITAL
        if letter.isupper()
        else _USUAL
        for letter in text
    ]
    return size * sum(widths) * (_BOLD if bold else 1)


def fit(text: str, room: float, size: float = 12.0, *, bold: bool = False) -> str:
    """``text``, its middle left out where it would take more than ``room`` units."""
    for most in range(len(text), 3, -1):
        short = shorten(text, most)
        if text_width(short, size, bold=bold) <= room:
            return short
    return shorten(text, 3)
