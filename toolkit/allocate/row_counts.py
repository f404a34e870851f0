"""Stages for frequent rows: how many rows each should have, and the error they leave."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .allocation import STAGE_COLUMNS

# Squared error left of Gaussians by 0 .. 6 stages, each one byte for eight columns with a codebook
# of its own, all searched together (measured with ``fit_stages`` on 16,384 rows).
STACK_ERROR = np.array([1.0, 0.3165, 0.0920, 0.0278, 0.0090, 0.0031, 0.0011])
# What a code with a decoder leaves is not quite Gaussian, and stages take less of it.
STAGE_ERROR = np.array([1.0, 0.3165, 0.0998, 0.0329, 0.0108, 0.0036, 0.0012])
MOST_STAGES = len(STAGE_ERROR) - 1
_STAGE_HEADER = 320  # bytes of a file's header that one more stage takes, at most
_TENSOR_HEADER = 110  # the same of one more tensor: the stage's decoder


class RowCounts:
    """Residual stages for the rows that matter most: where a byte removes most weighted error.

    ``weights`` [n] of the rows, falling; ``errors`` what 0, 1, 2 ... stages leave of one; ``dense``
    if each stage has a decoder of its own.
    """

    def __init__(
        self,
        weights: NDArray[np.float64],
        errors: NDArray[np.float64],
        width: int,
        *,
        dense: bool = False,
    ) -> None:
        self._weights, self._errors, self._width = weights, errors, width
        self._stage = 4 * width + 256 * STAGE_COLUMNS + _STAGE_HEADER
        if dense:
            self._stage += width * _stage_bytes(width) * STAGE_COLUMNS + _TENSOR_HEADER
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights)])
        worth = [weights * gain for gain in -np.diff(errors)]
        self._rising = [-falling for falling in worth]
        self._ranked = [
            np.sort(np.concatenate(worth[:stages]))[::-1] for stages in range(1, len(worth) + 1)
        ]

    def best(self, left: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Rows of each stage for ``left`` bytes, by number of stages, and the error they leave."""
        yield (), 1.0
        for stages, ranked in enumerate(self._ranked, start=1):
            affordable = (left - stages * self._stage) // _stage_bytes(self._width)
            if affordable <= 0:
                return
            counts = self._counts(stages, ranked, int(min(affordable, len(ranked))))
            if all(counts):
                yield counts, self._share_left(counts)

    def _counts(self, stages: int, ranked: NDArray[np.float64], affordable: int) -> tuple[int, ...]:
        threshold = ranked[affordable - 1]
        rising = self._rising[:stages]
        above = [int(worth.searchsorted(-threshold, side="left")) for worth in rising]
        upto = [int(worth.searchsorted(-threshold, side="right")) for worth in rising]
        # Rows of equal worth: hand what is left to the cheapest stage first, never past the one
        # below.
        spare = affordable - sum(above)
        for stage in range(stages):
            ceiling = len(self._weights) if stage == 0 else above[stage - 1]
            extra = max(0, min(spare, upto[stage] - above[stage], ceiling - above[stage]))
            above[stage] += extra
            spare -= extra
        return tuple(above)

    def _share_left(self, row_counts: tuple[int, ...]) -> float:
        """Weighted mean of the error that the stages leave, over all rows."""
        cumulative = self._cumulative
        total = cumulative[-1] - cumulative[row_counts[0]]
        for depth, (outer, inner) in enumerate(itertools.pairwise([*row_counts, 0]), start=1):
            total += self._errors[depth] * (cumulative[outer] - cumulative[inner])
        return float(total / cumulative[-1])


def _stage_bytes(width: int) -> int:
    return -(-width // STAGE_COLUMNS)
