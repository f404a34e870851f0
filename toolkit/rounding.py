"""Weight matrices in groups of few bits, as ``MatMulNBits`` reads them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_FACTORS = np.linspace(0.75, 1.1, 15)  # of the scale that just covers a group
_DAMPING = 0.01  # of the mean moment, added to each: what no text has shown stays cheap to move
_COLUMNS = 32  # whose errors are carried to the rest of the matrix at once
_HALF = 1e-3  # relative error of scales that half precision may add: far below that of 4 bits


@dataclass(frozen=True, eq=False)
class GroupedWeight:
    """A matrix [n, k] whose rows are cut into groups that share a scale.

    Attributes:
        codes: uint8 [n, k], below 2^bits; 2^(bits - 1) stands for zero.
        scales: float32 [n, ceil(k / group_size)].
    """

    codes: NDArray[np.uint8]
    scales: Float32
    bits: int
    group_size: int

    def dense(self) -> Float32:
        """What the codes stand for, float32 [n, k]."""
        scales = np.repeat(self.scales, self.group_size, axis=1)[:, : self.codes.shape[1]]
        return (self.codes.astype(np.float32) - np.float32(2 ** (self.bits - 1))) * scales

    def packed(self) -> NDArray[np.uint8]:
        """Codes uint8 [n, groups, group_size * bits / 8], the first in the lowest bits."""
        rows, columns = self.codes.shape
        groups = self.scales.shape[1]
        padded = np.full((rows, groups * self.group_size), 2 ** (self.bits - 1), np.uint8)
        padded[:, :columns] = self.codes
        per_byte = 8 // self.bits
        parts = padded.reshape(rows, groups, -1, per_byte)
        shifts = (np.arange(per_byte) * self.bits).astype(np.uint8)
        return np.bitwise_or.reduce(parts << shifts, axis=-1, dtype=np.uint8)


def round_to_nearest(weight: Float32, *, bits: int = 4, group_size: int = 128) -> GroupedWeight:
    """Each number of ``weight`` [n, k] to the nearest that its group's scale can say."""
    scales = _scales(weight, np.ones(weight.shape[1]), bits, group_size)
    spread = np.repeat(scales, group_size, axis=1)[:, : weight.shape[1]]
    return GroupedWeight(to_codes(weight, spread, bits), scales, bits, group_size)


def round_by_outputs(
    weight: Float32, second_moments: Float64 | None, *, bits: int = 4, group_size: int = 128
) -> GroupedWeight:
    """Numbers rounded one column after the other, each error made up for by the columns to come.

    What stays small is not the weights' error but that of what they are multiplied into:
    |(W - W') x|^2 over inputs x whose second moments are known. GPTQ (Frantar et al., ICLR 2023,
    section 3; scales fixed beforehand, columns of large second_moments first, as its authors' later
    code has it).

    Args:
        weight: float32 [n, k], rows are outputs.
        second_moments: float64 [k, k], the sum of x x^T over inputs x; None where they are not
            known, and numbers are rounded to nearest.
        bits: of a number, 2, 4 or 8.
        group_size: numbers of a row that share a scale.
    """
    if second_moments is None:
        return round_to_nearest(weight, bits=bits, group_size=group_size)
    feedback = ErrorFeedback(second_moments)
    scales = _scales(weight, feedback.costs, bits, group_size)
    codes = feedback.codes(weight, scales, bits=bits, group_size=group_size)
    return GroupedWeight(codes, scales, bits, group_size)


class ErrorFeedback:
    """Rounds rows one column after the other, each error made up for by the columns to come.

    Rows do not know of each other: a large matrix may come a block at a time.

    Args:
        second_moments: as of :func:`round_by_outputs`.

    Attributes:
        costs: what an error of each column costs once the later ones have made up for it, [k].
    """

    def __init__(self, second_moments: Float64) -> None:
        self._order = np.argsort(-np.diag(second_moments), kind="stable")
        upper = damped_factor(second_moments[np.ix_(self._order, self._order)])
        self.costs = np.empty(len(upper))
        self.costs[self._order] = 1.0 / np.diag(upper) ** 2
        self._upper = upper.astype(np.float32)

    def codes(
        self, weight: Float32, scales: Float32, *, bits: int, group_size: int
    ) -> NDArray[np.uint8]:
        """Codes uint8 [n, k] of ``weight`` [n, k] in groups that have ``scales``."""
        columns, upper = weight.shape[1], self._upper
        spread = np.repeat(scales, group_size, axis=1)[:, :columns]
        spread = np.ascontiguousarray(spread.T[self._order])
        # A column is a run of memory.
        left = np.ascontiguousarray(weight.T[self._order], dtype=np.float32)
        codes = np.empty(left.shape, np.uint8)
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            errors = np.empty((stop - start, len(weight)), np.float32)
            for column in range(start, stop):
                scale = spread[column]
                codes[column] = to_codes(left[column], scale, bits)
                value = (codes[column] - np.float32(2 ** (bits - 1))) * scale
                error = errors[column - start] = (left[column] - value) / upper[column, column]
                left[column + 1 : stop] -= upper[column, column + 1 : stop, None] * error
            left[stop:] -= upper[start:stop, stop:].T @ errors
        back = np.empty(weight.shape, np.uint8)
        back[:, self._order] = codes.T
        return back


def damped_factor(second_moments: Float64) -> Float64:
    """Upper Cholesky factor [k, k] of the inverse of damped second moments [k, k].

    A row, over its diagonal, says how later inputs make up for an error of its own.
    """
    import scipy.linalg  # of the extra `export`

    damping = _DAMPING * float(np.diag(second_moments).mean()) or 1.0
    damped = second_moments + damping * np.eye(len(second_moments))
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(damped), np.eye(len(damped)))
    factor: Float64 = scipy.linalg.cholesky((inverse + inverse.T) / 2)
    return factor


def _scales(weight: Float32, costs: Float64, bits: int, group_size: int) -> Float32:
    """The scale of each group [n, groups] that errs least, its columns' errors counting ``costs``.

    Negative where the largest number is positive: codes reach one step further below zero.
    """
    parts = in_groups(weight, group_size)
    cost = in_groups((costs / costs.mean()).astype(np.float32)[None], group_size)[0]
    full = covering_scales(parts, bits)
    best, least = full, np.full(full.shape, np.inf, np.float32)
    low, high = np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)
    for factor in _FACTORS:
        scale = full * np.float32(factor)
        steps = np.rint(parts / scale[..., None])
        wrong = np.clip(steps, low, high, out=steps) * scale[..., None] - parts
        error = np.einsum("rbi,rbi,bi->rb", wrong, wrong, cost)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best.astype(np.float32, copy=False)


def in_groups(matrix: Float32, group_size: int) -> Float32:
    """Rows [n, k] as [n, groups, group_size], zeros behind."""
    rows, columns = matrix.shape
    return np.pad(matrix, ((0, 0), (0, -columns % group_size))).reshape(rows, -1, group_size)


def covering_scales(groups: Float32, bits: int) -> Float32:
    """The scale [n, groups] at which the largest of each group's numbers is its lowest step.

    ``groups`` [n, groups, group_size]; groups of zeros have scale 1.
    """
    largest = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)[..., 0]
    full: Float32 = -largest / np.float32(2 ** (bits - 1))
    full[full == 0] = 1.0
    return full


def to_codes(
    values: NDArray[np.floating], scales: NDArray[np.floating], bits: int
) -> NDArray[np.uint8]:
    """Codes uint8 of numbers that are stepped through by ``scales``, which broadcast to them."""
    middle = 2 ** (bits - 1)
    steps = np.rint(values / scales)
    return (np.clip(steps, -middle, middle - 1) + middle).astype(np.uint8)


def in_half(scales: Float32) -> NDArray[np.floating]:
    """In half precision, where that is to one in a thousand."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    near = np.abs(half.astype(np.float32) - scales) <= _HALF * np.abs(scales)
    return half if near.all() else scales
