"""Every figure, as tables."""

from dataclasses import dataclass

from ..report import Comparison, Measurement, Metric, ProfileReport, metrics
from .words import ABSENT, amount, digits, spread

_UNITS = {
    "_bytes": "bytes",
    "_ms": "ms",
    "_mj": "mJ",
    "_tokens_s": "tokens/s",
    "_bytes_s": "bytes/s",
    "_share": "share",
}


@dataclass(frozen=True)
class TableCell:
    """The median, and the range where the processes differ."""

    value: str
    range: str = ""


@dataclass(frozen=True)
class Row:
    """A metric: a cell a model, then a ratio a comparison."""

    label: str
    cells: tuple[TableCell, ...]
    ratios: tuple[str, ...]


@dataclass(frozen=True)
class FigureTable:
    """One place; ``groups`` are titled rows.

    ``absent`` names the metrics that another place tells and this one does not.
    """

    place: str
    subjects: tuple[str, ...]
    against: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    absent: tuple[str, ...]


def tables(report: ProfileReport) -> list[FigureTable]:
    """A table a place that has any figure."""
    every = _metrics(report)
    found = [_table(report, place, every) for place in report.places]
    return [table for table in found if table.groups]


def _metrics(report: ProfileReport) -> list[Metric]:
    """Those that any place tells; ones that this version has no words for come last, by name."""
    told = {name for one in report.measurements for name in one.figures}
    known = [metric for metric in metrics(report.grid) if metric.name in told]
    return known + [_unnamed(name) for name in sorted(told - {metric.name for metric in known})]


def _unnamed(name: str) -> Metric:
    ending = next((ending for ending in _UNITS if name.endswith(ending)), "")
    return Metric(name, name.removesuffix(ending).replace("_", " "), _UNITS.get(ending, ""))


def _table(report: ProfileReport, place: str, every: list[Metric]) -> FigureTable:
    here = [one for one in report.measurements if one.place == place and one.figures]
    compared = [one for one in report.comparisons if one.place == place]
    rows: dict[str, list[Row]] = {}
    absent = []
    for metric in every:
        if any(metric.name in one.figures for one in here):
            rows.setdefault(_group(metric), []).append(_row(metric, here, compared))
        else:
            absent.append(metric.label)
    return FigureTable(
        place,
        tuple(one.subject for one in here),
        tuple(one.against for one in compared),
        tuple((name, tuple(group)) for name, group in rows.items()),
        tuple(absent),
    )


def _row(metric: Metric, here: list[Measurement], compared: list[Comparison]) -> Row:
    cells = []
    for one in here:
        found = one.figures.get(metric.name)
        if found is None:
            cells.append(TableCell(ABSENT))
        else:
            cells.append(TableCell(amount(found.median, metric.unit), spread(found, metric.unit)))
    ratios = [one.ratios.get(metric.name) for one in compared]
    shown = tuple(ABSENT if ratio is None else digits(ratio) for ratio in ratios)
    return Row(metric.label, tuple(cells), shown)


def _group(metric: Metric) -> str:
    if metric.name in ("disk_bytes", "download_bytes"):
        return "Bytes"
    if metric.name.startswith(("writing_", "first_token_", "step_", "copy_", "energy_text_")):
        return "Memory" if metric.name.endswith("_rss_bytes") else "Writing"
    if metric.unit == "bytes":
        return "Memory"
    return "Load" if metric.name.endswith(("load_ms", "first_result_ms")) else "Calls"
