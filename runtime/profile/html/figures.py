"""Every figure, as tables."""

from dataclasses import dataclass

from ..report import Comparison, Measurement, Metric, ProfileReport, metrics
from .words import ABSENT, amount, digits, spread


@dataclass(frozen=True)
class Cell:
    """The median, and the range where the processes differ."""

    value: str
    range: str = ""


@dataclass(frozen=True)
class FigureTable:
    """One place; ``rows`` are a metric's label, a cell a model and a ratio a comparison.

    ``absent`` names the metrics that another place tells and this one does not.
    """

    place: str
    subjects: tuple[str, ...]
    against: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, tuple[Cell, ...], tuple[str, ...]], ...]], ...]
    absent: tuple[str, ...]


def tables(report: ProfileReport) -> list[FigureTable]:
    """A table a place that has any figure."""
    return [table for place in report.places if (table := _table(report, place)).groups]


def _table(report: ProfileReport, place: str) -> FigureTable:
    here = [one for one in report.measurements if one.place == place and one.figures]
    compared = [one for one in report.comparisons if one.place == place]
    rows: dict[str, list[tuple[str, tuple[Cell, ...], tuple[str, ...]]]] = {}
    absent = []
    for metric in metrics(report.grid):
        if any(metric.name in one.figures for one in here):
            rows.setdefault(_group(metric), []).append(_row(metric, here, compared))
        elif any(metric.name in one.figures for one in report.measurements):
            absent.append(metric.label)
    return FigureTable(
        place,
        tuple(one.subject for one in here),
        tuple(one.against for one in compared),
        tuple((name, tuple(group)) for name, group in rows.items()),
        tuple(absent),
    )


def _row(
    metric: Metric, here: list[Measurement], compared: list[Comparison]
) -> tuple[str, tuple[Cell, ...], tuple[str, ...]]:
    cells = []
    for one in here:
        found = one.figures.get(metric.name)
        cells.append(
            Cell(ABSENT)
            if found is None
            else Cell(amount(found.median, metric.unit), spread(found, metric.unit))
        )
    ratios = [
        digits(one.ratios[metric.name]) if metric.name in one.ratios else ABSENT for one in compared
    ]
    return metric.label, tuple(cells), tuple(ratios)


def _group(metric: Metric) -> str:
    if metric.name in ("disk_bytes", "download_bytes"):
        return "Bytes"
    if metric.unit == "bytes":
        return "Memory"
    return "Load" if metric.name.split("_")[-2] in ("load", "result") else "Calls"
