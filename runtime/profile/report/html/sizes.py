"""Bytes by what they are for."""

from dataclasses import dataclass

from markupsafe import Markup

from ..report import ProfileReport, Subject
from .bars import Share, Stack, draw_stacks
from .words import ABSENT, amount

ORDER = ("token table", "other tables", "output head", "weights", "graph")


@dataclass(frozen=True)
class Sizes:
    """A chart, and the same as a table: rows are a name and a cell a model."""

    chart: Markup | None
    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def sizes(report: ProfileReport) -> Sizes:
    """Of all models; parts that are not known are left out, the totals stay."""
    names = _part_names(report)
    stacks = [_stack(report, one, names) for one in report.subjects if one.parts]
    chart = draw_stacks("sizes", "Bytes on disk by part", stacks) if stacks else None
    rows = [
        (name, tuple(_cell(one.parts.get(name), known=bool(one.parts)) for one in report.subjects))
        for name in names
    ]
    for name, label in (("disk_bytes", "on disk"), ("download_bytes", "to download, gzip")):
        cells = [_any_place(report, one, name) for one in report.subjects]
        rows.append((label, tuple(ABSENT if c is None else amount(c, "bytes") for c in cells)))
    return Sizes(chart, tuple(one.name for one in report.subjects), tuple(rows))


def _part_names(report: ProfileReport) -> list[str]:
    found = {name for one in report.subjects for name in one.parts}
    return [*(name for name in ORDER if name in found), *sorted(found - set(ORDER))]


def _stack(report: ProfileReport, subject: Subject, names: list[str]) -> Stack:
    shares = tuple(
        Share(number, name, subject.parts[name], amount(subject.parts[name], "bytes"))
        for number, name in enumerate(names, 1)
        if subject.parts.get(name)
    )
    text = amount(sum(subject.parts.values()), "bytes")
    download = _any_place(report, subject, "download_bytes")
    if download is not None:
        text += f", {amount(download, 'bytes')} gzip"
    return Stack(subject.name, text, shares)


def _any_place(report: ProfileReport, subject: Subject, name: str) -> float | None:
    """Files are the same in all places, unless a place needs another form of the model."""
    for one in report.measurements:
        if one.subject == subject.name and name in one.figures:
            return one.figures[name].median
    if name == "disk_bytes" and subject.parts:
        return float(sum(subject.parts.values()))
    return None


def _cell(value: int | None, *, known: bool) -> str:
    return amount(value or 0, "bytes") if known else ABSENT
