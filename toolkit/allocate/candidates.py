"""Candidate base codes: the bytes each costs and the error it is expected to leave."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .allocation import Subquantizer

# Squared error left of unit Gaussians when one byte, an entry of a codebook [256, k] trained for
# them, stands for k of them (measured by k-means; the bound is 4 ** (-8 / k)).
BYTE_ERROR = {
    1: 4e-4,
    2: 0.0087,
    3: 0.0430,
    4: 0.0968,
    5: 0.1565,
    6: 0.2150,
    7: 0.2660,
    8: 0.3165,
    10: 0.3950,
    12: 0.4630,
    16: 0.5580,
    24: 0.6700,
}
# What the joint search over all bytes and the refit of decoder and codebooks leave of that error.
JOINT_GAIN = 0.88
_ERRORS = np.array([BYTE_ERROR.get(k, 1.0) for k in range(max(BYTE_ERROR) + 1)])
_PAIRS = np.array([(k, more) for k in BYTE_ERROR for more in BYTE_ERROR if k <= more])
_WORTH = 0.99  # a dearer code is tried if it leaves less than this share of a cheaper one's error
_SPLITS = 12  # boundaries tried between a code's two subquantizers


Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What there is to code.

    Attributes:
        variances: eigenvalues of the rows' covariance, float64 [d], any order.
        total: their sum before anything was taken away, the measure of relative error.
        prefix: subquantizers that were measured rather than predicted, and are already taken away.
        gain: whether rows were brought to one length, and store it.
    """

    variances: NDArray[np.float64]
    total: float
    prefix: tuple[Subquantizer, ...] = ()
    gain: bool = False


def candidate_codes(
    spectrum: Spectrum, allowed: int, rows: int
) -> Iterator[tuple[tuple[Subquantizer, ...], int, float]]:
    """Codes that fit, each with the error it leaves: its subquantizers, or its columns to a byte.

    Directions stand in order of variance. A code has up to two subquantizers: the first of fewer
    values to a byte, for the strong directions, the second of more. Codes come by rising cost,
    and each leaves less than all before.
    """
    variances = np.sort(np.maximum(spectrum.variances, 0.0))[::-1]
    width = len(variances)
    explained = np.concatenate([[0.0], np.cumsum(variances)])
    total = float(explained[-1])
    first, k, second, more = _splits(allowed // max(1, rows), width)
    middle, end = first * k, first * k + second * more
    coded = _ERRORS[k] * explained[np.minimum(middle, width)]
    coded += _ERRORS[more] * (explained[np.minimum(end, width)] - explained[middle.clip(0, width)])
    errors = JOINT_GAIN * coded + total - explained[np.minimum(end, width)]
    costs = rows * (first + second) + end * width + 256 * (k + more * (second > 0))
    columns = [] if spectrum.prefix else list(BYTE_ERROR)
    costs = np.append(costs, [rows * -(-width // c) + 256 * c for c in columns])
    errors = np.append(errors, [BYTE_ERROR[c] * total for c in columns])
    scale, least = max(spectrum.total, 1e-30), total
    yield spectrum.prefix, 0, total / scale
    for index in np.lexsort((errors, costs)):
        if errors[index] >= _WORTH * least:
            continue
        least = float(errors[index])
        if index >= len(first):
            yield (), columns[index - len(first)], least / scale
            continue
        subquantizers = [Subquantizer(int(first[index]), int(k[index]))]
        subquantizers += (
            [Subquantizer(int(second[index]), int(more[index]))] if second[index] else []
        )
        yield (*spectrum.prefix, *subquantizers), 0, least / scale


def _splits(most: int, width: int) -> tuple[Int64, Int64, Int64, Int64]:
    """Bytes and values to a byte of both subquantizers, for all codes of up to ``most`` bytes.

    A code of one subquantizer has a second of no bytes. Latents are never more than columns but
    for what fills the last byte.
    """
    found = []
    number = 1
    while number <= min(most, 2 * width):
        firsts = np.unique(np.maximum(1, number * np.arange(1, _SPLITS) // _SPLITS))
        for one in (*firsts[firsts < number], number):
            grid = np.full(len(_PAIRS), one), _PAIRS[:, 0], np.full(len(_PAIRS), number - one)
            found.append(np.stack([*grid, _PAIRS[:, 1]], axis=1))
        number += max(1, number // 48)  # coarser where a step changes little
    if not found:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, empty
    first, k, second, more = np.concatenate(found).T
    alone = (second == 0) == (more == k)  # a code of one subquantizer is listed once
    fits = alone & (first * k + second * more < width + np.where(second > 0, more, k))
    return first[fits], k[fits], second[fits], more[fits]
