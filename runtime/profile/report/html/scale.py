"""From figures to units of a drawing, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_TICKS = 8  # of a logarithmic axis


@dataclass(frozen=True)
class Scale:
    """``low`` to ``high`` onto ``start`` to ``end`` (units); logarithmic if ``log``."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where ``value`` lies; what is beyond the scale lies on its end."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def linear(values: Sequence[float], start: float, end: float, most: int = 5) -> Scale:
    """From 0, or from below where values are negative, to the round number above the largest."""
    low, high = min(0.0, *values), max(0.0, *values)
    if high == low:
        high = 1.0
    step = round_up((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(n * step for n in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def logarithmic(values: Sequence[float], start: float, end: float, *, exact: bool = False) -> Scale:
    """Over the positive values; ticks at 1, 2, 5 of each decade, at 1 alone if those are many.

    Ends are round numbers, or with ``exact`` the smallest and the largest value.
    """
    positive = [value for value in values if value > 0] or [1.0]
    ticks = _decades(min(positive), max(positive))
    low, high = (min(positive), max(positive)) if exact else (ticks[0], ticks[-1])
    within = tuple(n for n in ticks if low <= n <= high)
    if len(within) > _MOST_TICKS:
        within = tuple(n for n in within if math.isclose(math.log10(n) % 1, 0, abs_tol=1e-9))
    return Scale(low, high, start, end, within, log=True)


def serves_log(values: Sequence[float], least: float) -> bool:
    """Whether values span so much that a linear axis would hide the small ones."""
    return min(values, default=0) > 0 and max(values) >= least * min(values)


def round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten (Heckbert, Nice Numbers for Graph Labels, 1990)."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= value * (1 - 1e-9))


def _decades(low: float, high: float) -> tuple[float, ...]:
    """The round numbers from the one at or below ``low`` to the one at or above ``high``."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    every = [n * 10.0**power for power in range(first, last + 1) for n in (1, 2, 5)]
    below = max(n for n in every if n <= low * (1 + 1e-9))
    above = min(n for n in every if n >= high * (1 - 1e-9) and n > below)
    return tuple(n for n in every if below <= n <= above)
