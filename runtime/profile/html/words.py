"""Numbers and names as a reader wants them."""

from ..report import Statistic

_BYTE_STEPS = ((1e9, "GB", 2), (1e6, "MB", 2), (1e3, "kB", 1))
ABSENT = "–"


def amount(value: float, unit: str) -> str:
    """``7.93 MB``, ``36.9 ms``, ``12%``: a number in one of :class:`..report.Metric`'s units."""
    if value < 0:
        return f"−{amount(-value, unit)}"
    if unit == "bytes":
        return _bytes(value)
    if unit == "share":
        return f"{100 * value:.3g}%"
    if unit == "ms" and value >= 10_000:
        return f"{digits(value / 1000)} s"
    return f"{digits(value)} {unit}"


def digits(value: float) -> str:
    """Three significant digits, and never an exponent: ``0.0471``, ``36.9``, ``12,345``."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0").rstrip(".")


def spread(figure: Statistic, unit: str) -> str:
    """``lowest – highest``; empty where all processes agree to the digits shown."""
    low, high = amount(figure.low, unit), amount(figure.high, unit)
    return "" if low == high else f"{low} – {high}"


def ratio_words(ratio: float, unit: str, against: str) -> str:
    """«11.4 times smaller than X» where bytes are at most half, else «0.94 of X's»."""
    if unit == "bytes" and 0 < ratio <= 0.5:
        return f"{times(1 / ratio)} times smaller than {against}"
    return f"{_share(ratio)} of {possessive(against)}"


def times(factor: float) -> str:
    """A factor with three digits."""
    return f"{factor:.3g}" if factor < 1000 else f"{factor:,.0f}"


def possessive(name: str) -> str:
    """``original's``."""
    return f"{name}'s"


def shorten(text: str, most: int) -> str:
    """At most that many characters; the middle goes, since models differ at either end."""
    if len(text) <= most:
        return text
    head = (most - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def tokens(batch: int, length: int) -> str:
    """``128 tokens``, ``8 × 128 tokens``."""
    return f"{length} tokens" if batch == 1 else f"{batch} × {length} tokens"


def count(number: int, one: str, ending: str = "s") -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number:,} {one}{'' if number == 1 else ending}"


def _bytes(value: float) -> str:
    for size, name, places in _BYTE_STEPS:
        if value >= size * (1 if size < 1e6 else 0.0999):
            return f"{value / size:,.{places}f} {name}"
    return f"{value:.0f} B"


def _share(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else digits(ratio)
