"""A profile as a table."""

from rich.table import Table

from .report import Metric, ModelProfile, ProfileReport, metrics


def render(report: ProfileReport) -> Table:
    """Metrics down, models across; last, the bundle over the first model beside it.

    A cell is the median, and in brackets the lowest and the highest where they differ.
    """
    table = Table(
        title=f"{report.provider}, {_count(report.threads, 'thread')}, "
        f"batch {report.batch}, {_count(report.repeats, 'process', 'es')} a model"
    )
    table.add_column("")
    models = (report.bundle, *report.against)
    for model in models:
        table.add_column(model.name, justify="right")
    comparison = report.comparisons[0] if report.comparisons else None
    if comparison is not None:
        table.add_column(f"{report.bundle.name} / {comparison.against}", justify="right")
    for metric in metrics(report.lengths):
        if not any(metric.name in model.figures for model in models):
            continue
        cells = [_cell(model, metric) for model in models]
        if comparison is not None:
            ratio = comparison.ratios.get(metric.name)
            cells.append("–" if ratio is None else f"{ratio:.3f}")
        table.add_row(metric.label, *cells)
    return table


def _cell(model: ModelProfile, metric: Metric) -> str:
    figure = model.figures.get(metric.name)
    if figure is None:
        return "–"
    median, low, high = (_number(n, metric.unit) for n in (figure.median, figure.low, figure.high))
    spread = "" if low == high else f" ({low} – {high})"
    return f"{median} {'MB' if metric.unit == 'bytes' else metric.unit}{spread}"


def _number(value: float, unit: str) -> str:
    return (
        f"{value / 1e6:.2f}"
        if unit == "bytes"
        else f"{value:.3g}"
        if value < 100
        else f"{value:.0f}"
    )


def _count(number: int, one: str, ending: str = "s") -> str:
    return f"{number} {one}{'' if number == 1 else ending}"
