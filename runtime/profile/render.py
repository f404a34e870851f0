"""A profile as tables for a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .report import FAILED, MEASURED, Measurement, Metric, ProfileReport, Statistic, metrics

# What is shown unless everything is asked for: of the kinds of memory, what people know.
_HIDDEN = (
    *("_uss_", "_pss_", "_library_", "_mapped_"),
    *("before_", "first_rss", "unmapped_load", "peak_process", "arena_", "initializer_"),
    *("load_page_", "load_wasm_", "_p99_", "load_peak_"),
)


def render(report: ProfileReport, *, everything: bool = False) -> Group:
    """One table a place: metrics down, models across; last, the first model over the second.

    A cell is the median, and in brackets the lowest and the highest where they differ.
    """
    parts: list[RenderableType] = []
    for place in report.places:
        there = [one for one in report.measurements if one.place == place]
        if any(one.figures for one in there):
            parts.append(_table(report, place, there, everything=everything))
        parts += _notes(there)
    return Group(*parts)


def _table(
    report: ProfileReport, place: str, there: list[Measurement], *, everything: bool
) -> Table:
    runtime = next((one.runtime for one in there if one.runtime), "")
    table = Table(
        title=f"{place}: {runtime}, {_count(report.threads, 'thread')}, "
        f"{_count(report.repeats, 'process', 'es')} a model and measure",
        title_justify="left",
    )
    table.add_column("")
    for one in there:
        table.add_column(one.subject, justify="right")
    comparison = next((one for one in report.comparisons if one.place == place), None)
    if comparison is not None:
        table.add_column(f"{there[0].subject} / {comparison.against}", justify="right")
    for metric in metrics(report.grid):
        if not any(metric.name in one.figures for one in there):
            continue
        if not everything and any(part in metric.name for part in _HIDDEN):
            continue
        cells = [_cell(one.figures.get(metric.name), metric) for one in there]
        if comparison is not None:
            ratio = comparison.ratios.get(metric.name)
            cells.append("–" if ratio is None else f"{ratio:.3f}")
        table.add_row(metric.label, *cells)
    return table


def _notes(there: list[Measurement]) -> Iterator[RenderableType]:
    """What has to be known beside the table; what all models share is said once."""
    said = set()
    for one in there:
        parity = ""
        if one.parity is not None and one.status not in (MEASURED, FAILED):
            parity = f" (off the CPU's values by {one.parity.error:.2g} of the largest)"
        text = f"{one.place}, {one.subject}: {one.status}{parity}"
        if one.note:
            text += f": {one.note}"
        elif one.status == MEASURED:
            continue
        if one.status == MEASURED:
            text = f"{one.place}: {one.note}"
        if text not in said:
            said.add(text)
            yield Text(text, style="" if one.status == MEASURED else "yellow")


def _cell(figure: Statistic | None, metric: Metric) -> str:
    if figure is None:
        return "–"
    median, low, high = (_number(n, metric.unit) for n in (figure.median, figure.low, figure.high))
    spread = "" if low == high else f" ({low} – {high})"
    unit = {"bytes": " MB", "share": "%"}.get(metric.unit, f" {metric.unit}")
    return f"{median}{unit}{spread}"


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.2f}"
    if unit == "share":
        value *= 100
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _count(number: int, one: str, ending: str = "s") -> str:
    return f"{number} {one}{'' if number == 1 else ending}"
