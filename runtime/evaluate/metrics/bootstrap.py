"""Intervals by bootstrap: how far a metric moves when the examples are drawn anew."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError

from ..figures import ORIGINAL, Figure, Interval

RESAMPLES = 1000
_ENDS = (2.5, 97.5)  # per cent

Indices = NDArray[np.int64]
Metric = Callable[[Indices], float]
"""A model's metric over the examples of these indices, which may repeat."""


def mean_of(values: NDArray[np.float64]) -> Metric:
    """The mean of ``values`` [count] over the chosen examples."""
    return lambda chosen: float(values[chosen].mean())


def figures(
    measure: str,
    metric: str,
    models: Mapping[str, Metric],
    count: int,
    *,
    higher_is_better: bool = True,
    compare: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Figure]:
    """A figure for each of ``models``, all over the same resamples of ``count`` examples.

    Percentile intervals (Efron & Tibshirani 1993, chapter 13). A difference to the original is
    taken resample by resample: both models err on the same hard examples, so it is known far better
    than either score. ``compare`` False leaves it out, as for metrics that compare already.
    Resamples in which the metric is undefined (NaN) do not count.

    Raises:
        InputError: ``resamples`` is less than 1.
    """
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, got {resamples}")
    every = np.arange(count)
    values = {name: float(score(every)) for name, score in models.items()}
    drawn = {name: np.full(resamples, np.nan) for name in models}
    if count > 1:
        rng = np.random.default_rng(seed)
        for number in range(resamples):
            chosen = rng.integers(count, size=count)
            for name, score in models.items():
                drawn[name][number] = score(chosen)
    found = []
    for name, value in values.items():
        difference = None
        if compare and ORIGINAL in models and name != ORIGINAL:
            difference = _interval(value - values[ORIGINAL], drawn[name] - drawn[ORIGINAL])
        own = _interval(value, drawn[name])
        found.append(Figure(measure, metric, name, own, difference, higher_is_better, count))
    return found


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(known, _ENDS)
    return Interval(value, float(low), float(high))
