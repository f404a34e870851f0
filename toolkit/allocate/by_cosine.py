"""The smallest table that keeps a quality: a search over ratios, each step a real compression."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import BudgetError
from ..progress import Progress
from ..table.embedding import CompressedEmbedding, Float32
from ..table.metrics import mean_cosine
from .budget import Budget

_START = 16.0
_STEP = 2.0  # until the wanted cosine lies between two ratios
_CLOSE = 1.03  # between the ratio that keeps it and the one that does not
_LEAST = 1.5
_EXPECTED_FITS = 8

Fit = Callable[[Budget, Progress | None], CompressedEmbedding]


def smallest_with_cosine(
    table: Float32,
    weights: NDArray[np.float64],
    wanted: float,
    fit: Fit,
    progress: Progress | None,
) -> CompressedEmbedding:
    """Double or halve the ratio until ``wanted`` is bracketed, then bisect to within 3%.

    Raises:
        BudgetError: not even the largest table reaches it; the message says what is reached.
    """
    fits = 0

    def attempt(ratio: float) -> CompressedEmbedding | None:
        nonlocal fits
        if progress is not None:
            share = fits / (fits + max(1, _EXPECTED_FITS - fits))
            progress(share, f"trying ratio {ratio:.1f}")
        fits += 1
        try:
            embedding = fit(Budget(ratio=ratio), None)
        except BudgetError:
            return None  # too small for any allocation, so too small for the quality
        reached.append(mean_cosine(table, embedding, weights))
        return embedding if reached[-1] >= wanted else None

    reached: list[float] = []
    ratio, best = _START, attempt(_START)
    if best is not None:
        good = ratio
        while (better := attempt(good * _STEP)) is not None:
            best, good = better, good * _STEP
        bad = good * _STEP
    else:
        bad = ratio
        while best is None and bad > _LEAST:
            good = max(_LEAST, bad / _STEP)
            best = attempt(good)
            bad = bad if best is not None else good
    if best is None:
        raise BudgetError(
            f"no table keeps a mean cosine of {wanted}: ratio {_LEAST} reaches "
            f"{max(reached, default=0.0):.5f}; ask for less"
        )
    while bad / good > _CLOSE:
        middle = (good * bad) ** 0.5
        candidate = attempt(middle)
        if candidate is None:
            bad = middle
        else:
            best, good = candidate, middle
    return best
