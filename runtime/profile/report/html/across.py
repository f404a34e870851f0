"""The places side by side."""

from dataclasses import dataclass

from markupsafe import Markup

from ..report import MEASURED, Measurement, ProfileReport
from .bars import Bar, BarGroup, draw_bars
from .words import (
    STATUS_CLASS,
    amount,
    latency,
    longest_first,
    short_digits,
    style_of,
    timed,
    tokens,
)


@dataclass(frozen=True)
class PlaceChart:
    """Bars of one figure in all places."""

    caption: str
    chart: Markup


@dataclass(frozen=True)
class Status:
    """How one model did in one place; ``badge`` is a class of the style."""

    subject: str
    status: str
    badge: str
    note: str


@dataclass(frozen=True)
class PlaceStatus:
    """A place's row group; ``note`` is what all its rows share, and then not in them."""

    place: str
    runtime: str
    note: str
    rows: tuple[Status, ...]


@dataclass(frozen=True)
class _Kind:
    """What a figure is called, and the metrics that tell it, each with the word for its kind."""

    key: str
    caption: str
    names: tuple[tuple[str, str], ...]
    is_time: bool


def charts(report: ProfileReport) -> list[PlaceChart]:
    """Latency, first result, memory; one that no place tells is left out."""
    found = []
    for kind in _kinds(report):
        groups = [_group(report, place, kind) for place in report.places]
        if any(bar.value is not None for group in groups for bar in group.bars):
            title = f"{kind.caption}, by place"
            found.append(PlaceChart(kind.caption, draw_bars(f"bars-{kind.key}", title, groups)))
    return found


def statuses(report: ProfileReport) -> list[PlaceStatus]:
    """Every place that was asked for, those that failed too."""
    found = []
    for place in report.places:
        here = [one for one in report.measurements if one.place == place]
        notes = {one.note for one in here}
        shared = notes.pop() if len(notes) == 1 else ""
        rows = tuple(_status(one, "" if shared else one.note) for one in here)
        runtime = next((one.runtime for one in here if one.runtime), "")
        found.append(PlaceStatus(place, runtime, shared, rows))
    return found


def _kinds(report: ProfileReport) -> list[_Kind]:
    kinds = [
        _Kind(
            "first",
            "Load and first result",
            (("first_result_ms", ""),),
            True,
        ),
        _Kind(
            "load",
            "Memory after load",
            (
                ("load_rss_bytes", "RSS"),
                ("load_page_bytes", "the page's"),
                ("load_wasm_heap_bytes", "wasm heap"),
            ),
            False,
        ),
        _Kind(
            "peak",
            "Memory at its peak",
            (("peak_rss_bytes", "RSS"),),
            False,
        ),
    ]
    told = {name for one in report.measurements if timed(one) for name in one.figures}
    points = [point for point in longest_first(report.grid) if latency(*point, 50) in told]
    if points:
        caption = f"{tokens(*points[0])}, median call"
        kinds.insert(0, _Kind("latency", caption, ((latency(*points[0], 50), ""),), True))
    return kinds


def _group(report: ProfileReport, place: str, kind: _Kind) -> BarGroup:
    found = [report.measurement(one.name, place) for one in report.subjects]
    # One metric for all models of a place: kinds of memory are not alike.
    name, word = next(
        (pair for pair in kind.names if any(one and pair[0] in one.figures for one in found)),
        ("", ""),
    )
    bars = [
        _bar(report, subject.name, one, name, kind)
        for subject, one in zip(report.subjects, found, strict=True)
    ]
    return BarGroup(place, word, tuple(bars))


def _bar(
    report: ProfileReport, subject: str, one: Measurement | None, name: str, kind: _Kind
) -> Bar:
    style = style_of(report, subject)
    if one is None:
        return Bar(subject, style, "not asked for")
    if kind.is_time and not timed(one):
        return Bar(subject, style, one.status)
    if name not in one.figures:
        return Bar(subject, style, one.status if one.status != MEASURED else "not told here")
    figure = one.figures[name]
    unit = "bytes" if name.endswith("_bytes") else "ms"
    text = amount(figure.median, unit)
    return Bar(subject, style, text, figure.median, figure.low, figure.high)


def _status(one: Measurement, note: str) -> Status:
    parity = ""
    if one.parity is not None and one.parity.error is not None and one.parity.right:
        error, limit = (_power(n) for n in (one.parity.error, one.parity.limit))
        parity = f"outputs differ from the CPU's by {error} (limit {limit})"
    badge = STATUS_CLASS.get(one.status, "function")
    return Status(one.subject, one.status, badge, "; ".join(filter(None, (note, parity))))


def _power(value: float) -> str:
    """``0.012``, ``3.1e-6``."""
    return (
        short_digits(value) if value == 0 or value >= 1e-4 else f"{value:.1e}".replace("e-0", "e-")
    )
