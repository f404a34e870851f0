"""Figures of matplotlib as SVG that stands inside the page and takes the page's colours.

Matplotlib places and measures; what it writes is then made fit for a page: text stays text in the
page's font, each colour is a variable of ``templates/style.css`` so that light and dark both work,
and ids are unique on the page.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 340.0
"""Units across every chart: as many as a narrow phone has pixels, so that text keeps its size."""

SERIES, SHARES = 6, 6
"""Colours for models (``s0`` and on) and for shares of a whole (``p1`` and on)."""

_VARIABLES = (
    *("ink", "muted", "faint", "card"),
    *(f"s{at}" for at in range(SERIES)),
    *(f"{kind}{at}" for kind in ("p", "on") for at in range(1, SHARES + 1)),
)
_MARKED = 0xABC000  # colours from here on stand for variables; no chart uses them else
_HOVER = "hover:"
_LEFT_OUT = (  # the page's style says it, or it is the default
    *("fill:none", "font-family:", "font-size:12px", "text-anchor:start"),
    *("stroke-linecap:", "stroke-linejoin:", "stroke-dashoffset:0"),
)
_SMALL_TEXT = {"font-size:11px", "fill:var(--muted)"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lighttoken",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is about the widest of its kind
    "font.size": 12,
    "path.simplify_threshold": 0.8,
}


def colour(variable: str) -> str:
    """What stands for the page's colour of that name (``ink``, ``s0``) while drawing."""
    return f"#{_MARKED + _VARIABLES.index(variable):06x}"


@contextmanager
def new_figure(height: float) -> "Iterator[Figure]":
    """A figure ``WIDTH`` wide and ``height`` high, in units of the page; use it in the block."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # A matplotlibrc in the folder that this runs in would else decide, and may start TeX.
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # The browser has other fonts than the one measured with.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        figure.get_layout_engine().set(w_pad=0, h_pad=0)  # type: ignore[union-attr,call-arg]
        yield figure


def hover(text: str) -> str:
    """The ``gid`` of an artist over which a pointer shows ``text``."""
    return _HOVER + text


def to_svg(figure: "Figure", key: str, title: str, description: str) -> Markup:
    """The ``<svg>``; all text in it is escaped.

    Args:
        key: unique on the page.
        title: said by a screen reader, as is ``description``.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawn = ET.fromstring(stream.getvalue())
    root = ET.Element("svg", {"viewBox": drawn.attrib["viewBox"], "role": "img"})
    root.set("aria-labelledby", f"{key}-t {key}-d")
    for tag, text in (("title", title), ("desc", description)):
        ET.SubElement(root, tag, {"id": f"{key}-{tag[0]}"}).text = text
    for child in drawn:
        _copy(child, root, key)
    _share_styles(root)
    return Markup(ET.tostring(root, encoding="unicode"))


def key_of(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """A list below a chart; each entry is the class of a sign, the sign, and what it stands for."""
    items = Markup("").join(
        Markup('<li><span class="{}">{}</span> {}</li>').format(*entry) for entry in entries
    )
    return Markup('<ul class="key">{}</ul>').format(items)


def _copy(element: ET.Element, parent: ET.Element, key: str) -> None:
    """Copy what is drawn and what that refers to; groups that only carry an id dissolve."""
    name, tag = element.get("id", ""), element.tag.rpartition("}")[2]
    if tag in ("metadata", "style", "clipPath") or element.get("style") == "fill: none":
        return
    target = parent
    if tag != "g":
        target = ET.SubElement(parent, tag, _attributes(element, key))
        target.text = (element.text or "").strip() or None
    elif name.startswith(_HOVER):
        target = ET.SubElement(parent, tag)
        ET.SubElement(target, "title").text = name.removeprefix(_HOVER)
    for child in element:
        _copy(child, target, key)
    if tag == "defs" and not len(target):
        parent.remove(target)


def _share_styles(root: ET.Element) -> None:
    """Write what repeats once: a marker's style where it is defined, small text as a class."""
    defined = {f"#{one.get('id')}": one for one in root.iterfind(".//defs/path")}
    for use in root.iter("use"):
        defined[use.attrib["href"]].set("style", use.attrib.pop("style"))
    for text in root.iter("text"):
        style = text.get("style", "")
        if set(style.split(";")) >= _SMALL_TEXT:
            text.set("class", "small")
            style = ";".join(one for one in style.split(";") if one not in _SMALL_TEXT)
        text.attrib.pop("style", None)
        if style := style.removesuffix("fill:var(--ink)").removesuffix(";"):
            text.set("style", style)


def _attributes(element: ET.Element, key: str) -> dict[str, str]:
    kept = {}
    for qualified, value in element.attrib.items():
        name = qualified.rpartition("}")[2]  # without a namespace, which a page does not need
        if name == "id":
            kept[name] = f"{key}-{value}"
        elif name == "href":
            kept[name] = f"#{key}-{value.removeprefix('#')}"
        elif name == "style":
            kept[name] = _style(value)
        elif name != "clip-path" and not value.startswith("rotate(-0 "):
            shorter = re.sub(r"-?\d+\.\d+", lambda found: _number(float(found[0])), value)
            kept[name] = re.sub(r"[\sL]+", " ", shorter).strip()
    return {name: value for name, value in kept.items() if value}


def _style(value: str) -> str:
    """The page's colours for those drawn with; what the page's own style says is left out."""
    value = re.sub(
        "#abc[0-9a-f]{3}", lambda at: f"var(--{_VARIABLES[int(at[0][1:], 16) - _MARKED]})", value
    )
    told = [":".join(map(str.strip, part.split(":"))) for part in value.split(";")]
    return ";".join(part for part in told if part and not part.startswith(_LEFT_OUT))


def _number(value: float) -> str:
    """One decimal, which is finer than a pixel."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"
