"""Stages for frequent rows: how many rows each should have, and the error they leave."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .allocation import PLANE_COLUMNS

# Squared error left of Gaussians by 0 .. 6 planes, each one byte for eight columns with a codebook
# of its own, all searched together (measured with planes.fit_planes on 16,384 rows).
STACK_ERROR = np.array([1.0, 0.3165, 0.0920, 0.0278, 0.0090, 0.0031, 0.0011])
# What a code with a decoder leaves is not quite Gaussian, and planes take less of it.
PLANE_ERROR = np.array([1.0, 0.3165, 0.0998, 0.0329, 0.0108, 0.0036, 0.0012])
MOST_TIERS = len(PLANE_ERROR) - 1
_TIER_HEADER = 320  # bytes of a file's header that one more stage takes, at most


class Tiers:
    """Planes for the rows that matter most: where a byte removes most weighted error.

    ``weights`` [n] of the rows, falling; ``errors`` what 0, 1, 2 ... planes leave of one.
    """

    def __init__(
        self, weights: NDArray[np.float64], errors: NDArray[np.float64], width: int
    ) -> None:
        self._weights, self._errors, self._width = weights, errors, width
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights)])
        worth = [weights * gain for gain in -np.diff(errors)]
        self._rising = [-falling for falling in worth]
        self._ranked = [
            np.sort(np.concatenate(worth[:planes]))[::-1] for planes in range(1, len(worth) + 1)
        ]

    def best(self, left: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Rows of each plane for ``left`` bytes, by number of planes, and the error they leave."""
        yield (), 1.0
        stage = 4 * self._width + 256 * PLANE_COLUMNS + _TIER_HEADER
        for planes, ranked in enumerate(self._ranked, start=1):
            affordable = (left - planes * stage) // _plane_bytes(self._width)
            if affordable <= 0:
                return
            counts = self._counts(planes, ranked, int(min(affordable, len(ranked))))
            if all(counts):
                yield counts, self._share_left(counts)

    def _counts(self, planes: int, ranked: NDArray[np.float64], affordable: int) -> tuple[int, ...]:
        threshold = ranked[affordable - 1]
        rising = self._rising[:planes]
        above = [int(worth.searchsorted(-threshold, side="left")) for worth in rising]
        upto = [int(worth.searchsorted(-threshold, side="right")) for worth in rising]
        # Rows of equal worth: hand what is left to the cheapest plane first, never past the one
        # below.
        spare = affordable - sum(above)
        for plane in range(planes):
            ceiling = len(self._weights) if plane == 0 else above[plane - 1]
            extra = max(0, min(spare, upto[plane] - above[plane], ceiling - above[plane]))
            above[plane] += extra
            spare -= extra
        return tuple(above)

    def _share_left(self, tiers: tuple[int, ...]) -> float:
        """Weighted mean of the error that the planes leave, over all rows."""
        cumulative = self._cumulative
        total = cumulative[-1] - cumulative[tiers[0]]
        for depth, (outer, inner) in enumerate(itertools.pairwise([*tiers, 0]), start=1):
            total += self._errors[depth] * (cumulative[outer] - cumulative[inner])
        return float(total / cumulative[-1])


def _plane_bytes(width: int) -> int:
    return -(-width // PLANE_COLUMNS)
