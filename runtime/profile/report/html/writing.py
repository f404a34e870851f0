"""Decoders as they write: first token, tokens a second, and what is read for one."""

from dataclasses import dataclass

from ..report import ProfileReport, metrics
from .words import ABSENT, amount, count, timed

_SHOWN = ("first_token_", "writing_", "copy_")
_HIDDEN = ("_peak_rss_bytes", "_embedding_share")  # they are among every figure


@dataclass(frozen=True)
class PlaceWriting:
    """One place: rows are a metric's name and a cell a model."""

    place: str
    runtime: str
    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def writing(report: ProfileReport) -> list[PlaceWriting]:
    """Of each place where a decoder was timed as it wrote."""
    found = []
    for place in report.places:
        here = [one for one in report.measurements if one.place == place and timed(one)]
        rows = [
            (
                metric.label,
                tuple(
                    ABSENT if figure is None else amount(figure.median, metric.unit)
                    for figure in (one.figures.get(metric.name) for one in here)
                ),
            )
            for metric in metrics(report.grid)
            if metric.name.startswith(_SHOWN)
            and not metric.name.endswith(_HIDDEN)
            and any(metric.name in one.figures for one in here)
        ]
        if rows:
            subjects = tuple(one.subject for one in here)
            found.append(PlaceWriting(place, here[0].runtime, subjects, tuple(rows)))
    return found


def explained(report: ProfileReport) -> str:
    """How it was measured; empty where nothing wrote."""
    if not report.tokens:
        return ""
    return (
        f"A decoder read a prompt and then wrote {count(report.tokens, 'token')}, the likeliest "
        f"each time, {count(report.runs, 'time')} in each process. «Read for a token» is counted, "
        "not measured: all stored bytes that a step needs (of tables that only rows are looked up "
        "in, a row) and the keys and values of the text so far. Its share of a copy's bandwidth "
        "is those bytes a second over what a plain copy of arrays larger than caches reads and "
        "writes, in the same process, on as many threads."
    )
