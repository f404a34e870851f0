"""An evaluation as tables for a terminal."""

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.visible import visible

from .figures import Figure, Interval
from .report import EvaluationReport

_TITLES = {
    "pairs": "scored pairs",
    "probe": "linear probe",
    "classify": "labelled texts",
    "qa": "questions",
    "text": "text without labels",
}
_STYLES = {"better": "green", "worse": "red", "noise": "dim"}
_HEADS = ("", "bytes", "", "95% interval", "change", "95% interval", "")
_GAP, _NARROW = 2, 10  # characters
_FINE = ("cosine", "KL")  # metrics of the order of one; of the others two decimals say enough


def render(report: EvaluationReport, width: int = 120) -> Group:
    """A block a measure, in it a row a model for each metric; what the marks mean; notes.

    A change is the model's figure less the original's. In less than ``width`` characters a line,
    names of models are folded.
    """
    parts: list[RenderableType] = []
    for measure in dict.fromkeys(figure.measure for figure in report.figures):
        parts += _block(report, measure, width)
    if any(figure.verdict == "noise" for figure in report.figures):
        parts.append(Text("noise: the interval of the change holds zero", "dim"))
    return Group(*parts, *(Text(visible(f"note: {note}")) for note in report.notes))


def _block(report: EvaluationReport, measure: str, width: int) -> Iterator[RenderableType]:
    """The measure's name, then a table a metric, their columns one below the other."""
    sizes = {model.name: _mega(model.nbytes) for model in report.models}
    rows = {
        figure: _cells(figure, sizes.get(figure.model, ""))
        for figure in report.figures
        if figure.measure == measure
    }
    compared = any(figure.difference is not None for figure in rows)
    heads = _HEADS if compared else _HEADS[:4]
    widths = [
        max(len(head), *(len(cells[column]) for cells in rows.values()))
        for column, head in enumerate(heads)
    ]
    widths[0] = max(_NARROW, min(widths[0], width - sum(widths[1:]) - _GAP * len(widths)))
    yield Text(visible(_TITLES.get(measure, measure)), "bold")
    for number, metric in enumerate(dict.fromkeys(figure.metric for figure in rows)):
        own = [figure for figure in rows if figure.metric == metric]
        better = "higher" if own[0].higher_is_better else "lower"
        title = f"{metric} (n = {own[0].count:,}, {better} is better)"
        yield Text(visible(title), "italic")
        table = Table(box=None, show_header=number == 0, pad_edge=False, padding=(0, _GAP, 0, 0))
        table.add_column("", width=widths[0], overflow="fold")
        for head, room in zip(heads[1:], widths[1:], strict=True):
            table.add_column(head, justify="right", no_wrap=True, min_width=room)
        for figure in own:
            style = _STYLES.get(figure.verdict or "", "")
            cells = rows[figure][: len(heads)]
            table.add_row(*cells[:-1], Text(visible(cells[-1]), style if compared else ""))
        yield table
    yield Text()


def _cells(figure: Figure, size: str) -> tuple[str, ...]:
    places = 4 if figure.metric.startswith(_FINE) else 2
    found = [
        figure.model,
        size,
        f"{figure.score.value:.{places}f}",
        _interval(figure.score, places),
    ]
    change = figure.difference
    if change is None:
        return (*found, "", "", "")
    ends = _interval(change, places, sign="+")
    return (*found, f"{change.value:+.{places}f}", ends, figure.verdict or "")


def _interval(interval: Interval, places: int, sign: str = "") -> str:
    if math.isnan(interval.low):
        return "unknown"
    return f"{interval.low:{sign}.{places}f} … {interval.high:{sign}.{places}f}"


def _mega(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f} MB"
