"""A stored length for each row: one byte, an entry of 256 levels that stand in equal ratios.

Shape-gain quantisation (Buzo et al. 1980): a code for rows of one length need not spend its entries
on telling long rows from short ones. Equal ratios, because an error in a row's length counts by the
row's own length.
"""

import numpy as np
from numpy.typing import NDArray

from ...table.components import Gain

_LEVELS = 256
_WIDEST = 1e6  # of the longest to the shortest level; shorter rows count as zero


def spread_levels(lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels float32 [256]: 0, then 255 in equal ratios from the least to the greatest length."""
    longest = float(lengths.max(initial=0.0))
    if longest <= 0:
        return np.zeros(_LEVELS, np.float32)
    shortest = float(lengths[lengths > longest / _WIDEST].min())
    return np.concatenate([[0.0], np.geomspace(shortest, longest, _LEVELS - 1)]).astype(np.float32)


def nearest_levels(lengths: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest level of each length, uint8 [n]."""
    edges = (levels[1:] + levels[:-1]) / 2
    return np.searchsorted(edges, lengths, side="right").astype(np.uint8)


def as_gain(factors: NDArray[np.float32]) -> Gain:
    """A factor for each row, float32 [n], as one byte of 256 levels; none is below 0."""
    factors = np.maximum(factors, 0)
    levels = spread_levels(factors)
    return Gain(nearest_levels(factors, levels), levels)
