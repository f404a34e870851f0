"""A profile as tables for a terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.visible import visible

from .report import FUNCTION_ONLY, MEASURED, Measurement, Metric, ProfileReport, Statistic, metrics

_MOST_WITH_SPREAD = 2  # models
# Parts of names that are left out unless everything is asked for.
_HIDDEN = (
    *("_uss_", "_pss_", "_library_", "_mapped_"),
    *(
        "before_",
        "first_rss",
        "first_own",
        "unmapped_load",
        "peak_process",
        "arena_",
        "initializer_",
    ),
    *("load_page_", "load_wasm_", "_p99_", "load_peak_"),
    *("step_", "_embedding_share", "energy_text_"),
)


def render(report: ProfileReport, *, everything: bool = False) -> Group:
    """One table a place: metrics down, models across; last, the first model over the second.

    A cell is the median, and in brackets the lowest and the highest where they differ; of many
    models the median alone, as a terminal is not that wide.
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
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    spread = len(there) <= _MOST_WITH_SPREAD
    for one in there:
        table.add_column(one.subject, justify="right", no_wrap=True)
    comparison = next((one for one in report.comparisons if one.place == place), None)
    if comparison is not None:
        table.add_column(f"to {comparison.against}", justify="right", no_wrap=True)
    for metric in metrics(report.grid):
        if not any(metric.name in one.figures for one in there):
            continue
        if not everything and any(part in metric.name for part in _HIDDEN):
            continue
        cells = [_cell(one.figures.get(metric.name), metric, spread=spread) for one in there]
        if comparison is not None:
            ratio = comparison.ratios.get(metric.name)
            cells.append("–" if ratio is None else f"{ratio:.3f}")
        table.add_row(metric.label, *cells)
    return table


def _notes(there: list[Measurement]) -> Iterator[RenderableType]:
    """What has to be known beside the table; what holds for every model is said once."""
    lines = {one.subject: _line(one) for one in there}
    if len(set(lines.values())) == 1:
        lines = {"": _line(there[0])}
    for subject, line in lines.items():
        if line:
            style = "" if line.startswith(MEASURED) else "yellow"
            who = f"{there[0].place}, {subject}" if subject else there[0].place
            told = line.removeprefix(f"{MEASURED}: ")
            yield Text(visible(f"{who}: {told}"), style=style)


def _line(one: Measurement) -> str:
    if one.status == FUNCTION_ONLY and one.parity is not None and one.parity.error is not None:
        return f"{one.note}; outputs are within {one.parity.error:.1g} of the CPU's"
    return f"{one.status}: {one.note}" if one.note else ""


def _cell(figure: Statistic | None, metric: Metric, *, spread: bool) -> str:
    if figure is None:
        return "–"
    median, low, high = (_number(n, metric.unit) for n in (figure.median, figure.low, figure.high))
    unit = {"bytes": " MB", "bytes/s": " GB/s", "share": "%"}.get(metric.unit, f" {metric.unit}")
    return f"{median}{unit}" + (f" ({low}–{high})" if spread and low != high else "")


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.2f}"
    if unit == "bytes/s":
        return f"{value / 1e9:.1f}"
    if unit == "share":
        value *= 100
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _count(number: int, one: str, ending: str = "s") -> str:
    return f"{number} {one}{'' if number == 1 else ending}"
