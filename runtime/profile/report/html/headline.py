"""The first model beside the second, in a few figures."""

from dataclasses import dataclass

from ..report import MEASURED, Comparison, ProfileReport, Statistic
from .words import amount, latency, longest_first, ratio_words, spread, tokens


@dataclass(frozen=True)
class Card:
    """A figure. ``ratio``, and ``other`` which ends that sentence, are empty without comparison."""

    label: str
    value: str
    range: str
    ratio: str
    other: str


@dataclass(frozen=True)
class Headline:
    """Cards, where they are from, and what to know of them."""

    subject: str
    against: str
    place: str
    cards: tuple[Card, ...]
    note: str


def headline(report: ProfileReport) -> Headline:
    """Of the first place where the first model was measured."""
    subject = report.subjects[0].name
    here = [one for one in report.measurements if one.subject == subject]
    first = next((one for one in here if one.status == MEASURED), None)
    if first is None:
        return Headline(subject, "", "", (), "Nothing was measured; «Places» says why.")
    comparison = next((one for one in report.comparisons if one.place == first.place), None)
    shared = first.figures.keys() & (comparison.ratios if comparison else first.figures).keys()
    cards = []
    for names in _wanted(report):
        # A model of fixed shapes may lack the longest texts; a figure that compares comes first.
        told = [pair for pair in names if pair[0] in shared]
        told += [pair for pair in names if pair[0] in first.figures]
        if told:
            name, label = told[0]
            cards.append(_card(report, first.figures[name], comparison, name, label))
    against = comparison.against if comparison is not None else ""
    return Headline(subject, against, first.place, tuple(cards), _note(report, first.place))


def _wanted(report: ProfileReport) -> list[list[tuple[str, str]]]:
    """Metrics and what they are called here; in each list the first that there is counts."""
    wanted = [
        [("disk_bytes", "On disk")],
        [
            ("load_rss_bytes", "Memory after load"),
            ("load_page_bytes", "Page's memory after load"),
            ("load_wasm_heap_bytes", "Wasm heap after load"),
        ],
        [("peak_rss_bytes", "Memory at its peak")],
        [
            ("cold_first_result_ms", "Load and first result, cold"),
            ("first_result_ms", "Load and first result"),
        ],
    ]
    points = longest_first(report.grid)
    for length in dict.fromkeys(length for _, length in points):
        wanted.append([(f"first_token_{length}_ms", f"First token after {length}")])
        wanted.append([(f"writing_{length}_tokens_s", f"Writing after {length} tokens")])
    wanted.append([(latency(*point, 50), f"{tokens(*point)}, median call") for point in points])
    return wanted


def _card(
    report: ProfileReport, figure: Statistic, comparison: Comparison | None, name: str, label: str
) -> Card:
    units = {"_bytes": "bytes", "_tokens_s": "tokens/s"}
    unit = next((unit for ending, unit in units.items() if name.endswith(ending)), "ms")
    ratio = other = ""
    if comparison is not None and name in comparison.ratios:
        ratio, joined = ratio_words(comparison.ratios[name], unit)
        theirs = report.measurement(comparison.against, comparison.place)
        if theirs is not None and name in theirs.figures:
            value = amount(theirs.figures[name].median, unit)
            other = f"{joined} {comparison.against}: {value}"
    return Card(label, amount(figure.median, unit), spread(figure, unit), ratio, other)


def _note(report: ProfileReport, place: str) -> str:
    first = report.places[0] if report.places else place
    if first == place:
        return ""
    return f"{first} comes first in this profile, but nothing was measured there."
