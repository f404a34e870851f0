"""Memory over time, and by stage and kind."""

from dataclasses import dataclass

from markupsafe import Markup

from ..report import Measurement, ProfileReport
from .lines import Trace, at_time, draw_timelines
from .words import ABSENT, amount, style_of

STAGES = {
    "before": "bare runtime",
    "load": "loaded",
    "first": "first result",
    "steady": "in use",
}
KINDS = {
    "rss": "RSS",
    "uss": "USS",
    "pss": "PSS",
    "anonymous": "anonymous",
    "mapped": "mapped files",
    "library": "libraries",
    "wasm_heap": "wasm heap",
    "page": "page",
}
_PEAKS = {
    "load_peak_rss_bytes": "peak of the load",
    "peak_rss_bytes": "peak",
    "unmapped_load_rss_bytes": "loaded, nothing mapped",
    "unmapped_peak_rss_bytes": "peak, nothing mapped",
}


@dataclass(frozen=True)
class Panel:
    """A model's timeline; ``marks`` say what each number in it stands for."""

    name: str
    chart: Markup
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Stages:
    """A model's rows: a stage's name and a cell a kind."""

    name: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class PlaceMemory:
    """One place."""

    place: str
    runtime: str
    panels: tuple[Panel, ...]
    kinds: tuple[str, ...]
    subjects: tuple[Stages, ...]


def memory(report: ProfileReport) -> list[PlaceMemory]:
    """Of each place that has timelines or stages."""
    places = [_place(report, at, place) for at, place in enumerate(report.places)]
    return [one for one in places if one.panels or one.subjects]


def _place(report: ProfileReport, at: int, place: str) -> PlaceMemory:
    here = [one for one in report.measurements if one.place == place]
    kinds = [kind for kind in KINDS if any(_name("load", kind) in one.figures for one in here)]
    traces = [
        Trace(one.subject, style_of(report, one.subject), one.timeline)
        for one in here
        if one.timeline is not None and one.timeline.points
    ]
    charts = draw_timelines(f"time{at}", traces)
    panels = [
        Panel(trace.name, chart, tuple(_marks(trace)))
        for trace, chart in zip(traces, charts, strict=True)
    ]
    tables = [Stages(one.subject, tuple(_rows(one, kinds))) for one in here]
    runtime = next((one.runtime for one in here if one.runtime), "")
    return PlaceMemory(
        place,
        runtime,
        tuple(panels),
        tuple(KINDS[kind] for kind in kinds),
        tuple(one for one in tables if one.rows),
    )


def _marks(trace: Trace) -> list[str]:
    told = []
    for ms, stage in trace.timeline.marks:
        value = at_time(trace.timeline, ms)
        size = "" if value is None else f", {amount(value, 'bytes')}"
        told.append(f"{STAGES.get(stage, stage)}: {amount(ms, 'ms')}{size}")
    return told


def _rows(one: Measurement, kinds: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    rows = []
    for stage, label in STAGES.items():
        names = [_name(stage, kind) for kind in kinds]
        if any(name in one.figures for name in names):
            rows.append((label, tuple(_cell(one, name) for name in names)))
    for name, label in _PEAKS.items():
        if name in one.figures:
            rows.append((label, tuple(_cell(one, name) if kind == "rss" else "" for kind in kinds)))
    return rows


def _name(stage: str, kind: str) -> str:
    return f"{stage}_{kind}_bytes"


def _cell(one: Measurement, name: str) -> str:
    figure = one.figures.get(name)
    return ABSENT if figure is None else amount(figure.median, "bytes")
