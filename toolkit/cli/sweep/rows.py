"""Results as a table: what was tried, what it takes, what it keeps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from toolkit.markdown import code, prose
from toolkit.visible import visible

from ..console import plain_table, size
from .results import CellResult, Evaluation, Score

_STYLES = {"better": "green", "worse": "red", "noise": "dim"}
_FINE = ("cosine", "KL")  # metrics of the order of one, as `evaluate` shows them
_PART = ": "  # within the name of a model that is the original with a part of the bundle


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        model: as the plan names it, shortened.
        what: for a cell "", else which model that was compared it is: original, int8, ...
        settings: values by option, as they were asked for.
        bundle_bytes: all files; None of what is no bundle.
        model_bytes: graph and weights.
        ratio: how many times smaller the table is than in float32.
        scores: by metric.
        seconds: that the cell took.
        error: why there are no figures.
    """

    model: str
    what: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    bundle_bytes: int | None = None
    model_bytes: int | None = None
    ratio: float | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Overview:
    """All rows, by model: what was compared first, then the cells.

    Attributes:
        varied: options that differ between cells.
        constant: the others that the plan sets, with their value.
        metrics: one of each measure, the first that ``evaluate`` gives.
        rows: see :class:`Row`.
    """

    varied: tuple[str, ...]
    constant: dict[str, str]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def failed(self) -> tuple[Row, ...]:
        """Cells without figures."""
        return tuple(row for row in self.rows if row.error is not None)


def overview(results: Sequence[CellResult]) -> Overview:
    """What the results say, in their order."""
    names = _short({result.model for result in results})
    given = [{key: _text(value) for key, value in one.settings.items()} for one in results]
    options = dict.fromkeys(key for one in given for key in one)
    varied = tuple(key for key in options if len({one.get(key) for one in given}) > 1)
    constant = {key: given[0][key] for key in options if key not in varied}
    rows: list[Row] = []
    for model, name in names.items():
        own = [one for one in results if one.model == model]
        rows += _references(name, own)
        rows += [_row(name, one, varied) for one in own]
    metrics = dict.fromkeys(metric for row in rows for metric in row.scores)
    return Overview(varied, constant, tuple(metrics), tuple(rows))


def _short(models: Iterable[str]) -> dict[str, str]:
    """The last part of each name, if no other ends so."""
    every = sorted(models)
    last = [Path(model).name or model for model in every]
    return {
        model: name if last.count(name) == 1 else model
        for model, name in zip(every, last, strict=True)
    }


def _text(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as a plan has it
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(name: str, result: CellResult, varied: tuple[str, ...]) -> Row:
    exported, evaluation = result.exported, result.evaluation
    settings = {key: _text(value) for key, value in result.settings.items() if key in varied}
    return Row(
        name,
        "",
        settings,
        result.bundle_bytes,
        None if exported is None else exported.model_bytes,
        None if exported is None else exported.ratio,
        {} if evaluation is None else _scores(evaluation, evaluation.models[1].name),
        result.seconds,
        result.error,
    )


def _references(name: str, results: Iterable[CellResult]) -> list[Row]:
    """The original and other models, once each: again only where a cell found other figures."""
    found: list[Row] = []
    for evaluation in (one.evaluation for one in results if one.evaluation is not None):
        for at, model in enumerate(evaluation.models):
            if at == 1 or model.name.startswith(evaluation.models[1].name.split(_PART)[0] + _PART):
                continue
            scores = _scores(evaluation, model.name)
            row = Row(name, model.name, {}, None, model.nbytes, None, scores)
            if row not in found:
                found.append(row)
    return found


def _scores(evaluation: Evaluation, model: str) -> dict[str, Score]:
    """The first metric of each measure."""
    first: dict[str, str] = {}
    for figure in evaluation.figures:
        first.setdefault(figure.measure, figure.metric)
    found: dict[str, Score] = {}
    for figure in evaluation.figures:
        if figure.model == model and first[figure.measure] == figure.metric:
            title = figure.metric if list(first.values()).count(figure.metric) == 1 else (
                f"{figure.metric}, {figure.measure}"
            )  # fmt: skip
            found[title] = figure
    return found


def _titles(view: Overview) -> list[str]:
    compared = {
        metric
        for row in view.rows
        for metric, score in row.scores.items()
        if score.difference is not None
    }
    metrics = [
        title
        for metric in view.metrics
        for title in ((metric, "change") if metric in compared else (metric,))
    ]
    return ["model", *view.varied, "bundle", "model alone", "table", *metrics, "seconds"]


def _cells(view: Overview, row: Row) -> list[tuple[str, str]]:
    """A text for each title, and its style."""
    titles = _titles(view)
    cells = [(f"{row.model}, {row.what}" if row.what else row.model, "")]
    cells += [(row.settings.get(key, ""), "") for key in view.varied]
    cells += [("" if n is None else size(n), "") for n in (row.bundle_bytes, row.model_bytes)]
    cells.append(("" if row.ratio is None else f"{row.ratio:.1f}x", ""))
    for metric in view.metrics:
        score = row.scores.get(metric)
        places = 4 if metric.startswith(_FINE) else 2
        value = None if score is None else score.score.value
        cells.append(("" if value is None else f"{value:.{places}f}", ""))
        if titles[len(cells) : len(cells) + 1] == ["change"]:
            change = None if score is None or score.difference is None else score.difference.value
            verdict = (score.verdict if score is not None else None) or ""
            noise = f" {verdict}" if verdict == "noise" else ""
            shown = "" if change is None else f"{change:+.{places}f}{noise}"
            cells.append((shown, _STYLES.get(verdict, "")))
    cells.append(("" if row.seconds is None else f"{row.seconds:.0f}", ""))
    return cells


def terminal_table(view: Overview) -> Table:
    """For a terminal; cells that failed are not in it."""
    table = plain_table(*_titles(view))
    for row in view.rows:
        if row.error is None:
            cells = _cells(view, row)
            table.add_row(*(Text(visible(text), style) for text, style in cells))
    return table


def name_of(row: Row) -> str:
    """A cell in words."""
    return " ".join([row.model, *(f"{key}={value}" for key, value in row.settings.items())])


def markdown(view: Overview, picture: str | None) -> str:
    """For a page: the table, what all cells share, what failed, and the picture of this name."""
    titles = _titles(view)
    rule = ["---", *("--:" for _ in titles[1:])]
    lines = [[prose(title) for title in titles], rule]
    lines += [
        [prose(text) for text, _ in _cells(view, row)] for row in view.rows if row.error is None
    ]
    text = "# Sweep\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if view.constant:
        shared = ", ".join(code(f"{key}={value}") for key, value in view.constant.items())
        text += f"\nEverywhere: {shared}.\n"
    if view.failed:
        text += "\n## Failed\n\n"
        text += "".join(
            f"- {prose(name_of(row))}: {prose(row.error or '')}\n" for row in view.failed
        )
    if picture is not None:
        text += f"\n![Bytes against quality]({picture})\n"
    return text
