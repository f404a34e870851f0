"""Numbers and names as a reader wants them, and what several sections ask of a report."""

import math
from collections.abc import Sequence

from ..report import (
    FAILED,
    FUNCTION_ONLY,
    MEASURED,
    WRONG,
    Measurement,
    ProfileReport,
    Statistic,
)

ABSENT = "–"

STATUS_CLASS = {MEASURED: "ok", FUNCTION_ONLY: "function", WRONG: "wrong", FAILED: "failed"}
"""The badge's class; the badge says the status in words too."""


def amount(value: float, unit: str) -> str:
    """``7.93 MB``, ``36.9 ms``, ``12%``: a number in one of :class:`..report.Metric`'s units."""
    if value < 0:
        return f"−{amount(-value, unit)}"
    if unit == "bytes":
        return _bytes(value)
    if unit == "bytes/s":
        return f"{digits(value / 1e9)} GB/s"
    if unit == "share":
        return f"{digits(100 * value)}%"
    if unit == "ms" and value >= 10_000:
        return f"{digits(value / 1000)} s"
    return f"{digits(value)} {unit}".rstrip()


def digits(value: float) -> str:
    """Three significant digits, and never an exponent: ``0.0471``, ``44.0``, ``12,345``."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not finite"
    places = min(max(0, 2 - math.floor(math.log10(abs(value)))), 9)
    return f"{value:,.{places}f}"


def short_digits(value: float) -> str:
    """The same without zeros at the end, for ticks."""
    text = digits(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def spread(figure: Statistic, unit: str) -> str:
    """``16.8 – 17.5``; empty where all processes agree to the digits shown.

    With units only where they are not all that of the median, which stands beside it.
    """
    shown = [amount(value, unit) for value in (figure.low, figure.high)]
    if shown[0] == shown[1]:
        return ""
    units = {text.rpartition(" ")[2] for text in (*shown, amount(figure.median, unit))}
    if len(units) == 1:
        shown = [text.rpartition(" ")[0] for text in shown]
    return " – ".join(shown)


def ratio_words(ratio: float, unit: str) -> tuple[str, str]:
    """A ratio, and how its sentence goes on before the other model's name.

    «11.4 times smaller», «than» where bytes are at most half; else «0.94 of the time», «of», or
    «1.06 times the time», «of»; of tokens a second «1.50 times the speed», «of».
    """
    if unit == "bytes" and 0 < ratio <= 0.5:
        return f"{digits(1 / ratio)} times smaller", "than"
    cost = {"bytes": "bytes", "tokens/s": "speed"}.get(unit, "time")
    if ratio > 1:
        return f"{digits(ratio)} times the {cost}", "of"
    return f"{ratio:.2f} of the {cost}" if ratio >= 0.1 else f"{digits(ratio)} of the {cost}", "of"


def shorten(text: str, most: int) -> str:
    """At most that many characters; the middle goes, since models differ at either end."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def tokens(batch: int, length: int) -> str:
    """``128 tokens``, ``8 × 128 tokens``."""
    return f"{length} tokens" if batch == 1 else f"{batch} × {length} tokens"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def count(number: int, one: str, ending: str = "s") -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number:,} {one}{'' if number == 1 else ending}"


def timed(one: Measurement | None) -> bool:
    """Whether its times mean something."""
    return one is not None and one.status == MEASURED


def latency_points(one: Measurement, batch: int, grid: tuple[tuple[int, int], ...]) -> list[int]:
    """Lengths, rising, of which that measurement has the median latency at that batch."""
    return sorted(
        length
        for texts, length in grid
        if texts == batch and latency(batch, length, 50) in one.figures
    )


def latency(batch: int, length: int, share: int) -> str:
    """The metric's name."""
    return f"latency_{batch}x{length}_p{share}_ms"


def longest_first(grid: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(texts, tokens), the longest text in the smallest batch first."""
    return sorted(grid, key=lambda point: (-point[1], point[0]))


def style_of(report: ProfileReport, subject: str) -> int:
    """A model has one colour on the whole page."""
    names = [one.name for one in report.subjects]
    return names.index(subject) % 6


def _bytes(value: float) -> str:
    if value < 100:
        return f"{value:.0f} B"
    if value < 100_000:
        return f"{value / 1e3:.1f} kB"
    if value < 1e9:
        return f"{value / 1e6:.{2 if value < 1e8 else 1}f} MB"
    return f"{value / 1e9:,.2f} GB"
