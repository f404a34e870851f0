"""Tables of integers with scales (:mod:`..table.grouped`), rounded by what their errors cost.

Stock operators fix the form: integers of a row in groups, a scale for each. What is left to choose
are the scales and the integers. Where a metric M says which errors e of a row matter, e' M e, the
integers are rounded one column after the other, each error made up for by the columns to come
(:class:`toolkit.rounding.ErrorFeedback`, GPTQ), and the scales of a row are the least-squares ones
of all its groups together, in the metric; both in turns. Without a metric each group is on its own:
its scale is searched, and fitted to its integers.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..allocate.budget import Budget
from ..errors import BudgetError, InputError
from ..progress import Progress
from ..rounding import ErrorFeedback, GroupedWeight, covering_scales, in_groups, to_codes
from ..table.components import Float32
from ..table.grouped import BITS, GROUP_SIZES, GroupedCode, GroupedTable
from ..table.matrix import row_blocks
from .compress import check_matrix

DEFAULT = GroupedCode()
_FACTORS = np.linspace(0.4, 1.1, 15)  # of the scale that just covers a group
_FITS = 2  # of a scale to its integers
_TURNS = 3  # of scales and integers, in a metric
_RIDGE = 1e-6  # of a group's own weight: groups of which no integer differs from zero
_HALF = 1e-3  # relative error of scales that half precision may add: far below that of 8 bits
_MOST_FACTOR = 2.0  # a row that is further off than this is lost, whatever it is multiplied by
_ROWS = 4096  # rounded at once

Float64 = NDArray[np.float64]


def choose_code(
    rows: int,
    width: int,
    budget: Budget | None,
    *,
    bits: int | None = None,
    group_size: int | None = None,
    known: Sequence[int] = BITS,
    blocks: bool = False,
) -> GroupedCode:
    """The code of a ``rows`` x ``width`` table that keeps to ``budget`` and is nearest to it.

    Bits are worth more than small groups: any code of 4 bits errs less than all of 2.

    Args:
        rows: of the table.
        width: of the table.
        budget: ratio or bytes; None for 4 bits and 32 numbers to a scale, or what is given.
        bits: that are wanted.
        group_size: that is wanted.
        known: bits that run where the table is to.
        blocks: an output head reads the table.

    Raises:
        InputError: a budget of min_cosine.
        BudgetError: no code is as small; the message says how small stock operators go.
    """
    usual = DEFAULT.group_size if group_size is None else group_size
    if budget is None:
        return GroupedCode(DEFAULT.bits if bits is None else bits, _at_most(usual, width))
    if budget.min_cosine is not None:
        raise InputError(
            f"min_cosine ({budget.min_cosine:g}) is not for stock operators, which have few sizes; "
            "give ratio, max_bytes or table_bits"
        )
    every = product(
        known if bits is None else (bits,), GROUP_SIZES if group_size is None else (group_size,)
    )
    codes = [GroupedCode(*each) for each in every]
    sizes = {code: code.nbytes(rows, width, blocks=blocks) for code in codes}
    allowed = budget.bytes_for(rows, width)
    fitting = [code for code in codes if sizes[code] <= allowed]
    if not fitting:
        least = min(codes, key=lambda code: sizes[code])
        raise BudgetError(
            f"{allowed:,} bytes are too few for a {rows} x {width} table in stock operators, which "
            f"take {sizes[least]:,} at least ({least}; {4 * rows * width / sizes[least]:.1f}x); "
            "give a smaller ratio, or leave --decode stock out",
            sizes[least],
        )
    return max(fitting, key=lambda code: (code.bits, -code.group_size))


def _at_most(group_size: int, width: int) -> int:
    """``group_size``, or less where a narrow table would be mostly filling."""
    while group_size > GROUP_SIZES[0] and group_size >= 2 * width:
        group_size //= 2
    return group_size


def round_table(
    matrix: NDArray[np.floating],
    code: GroupedCode,
    *,
    metric: NDArray[np.floating] | None = None,
    unbiased: bool = False,
    progress: Progress | None = None,
) -> GroupedTable:
    """A table as integers with scales.

    Args:
        matrix: floating point [V, d].
        code: bits and group size.
        metric: M [d, d], symmetric and positive: an error e of a row counts e' M e. Without one
            all directions count alike.
        unbiased: scale each row so that its inner product with itself, decoded, stays what it was:
            for output heads, whose logits would shrink.
        progress: told how far the work is.

    Returns:
        The table; rows of zeros stay zeros, exactly. Its scales are float16, or float32 where half
        precision would change them by more than a thousandth.

    Raises:
        InputError: as :func:`.compress.check_matrix`.
    """
    table = check_matrix(matrix)
    found = _rounded(table, code, metric, unbiased, np.dtype(np.float16), progress)
    if found is None:
        found = _rounded(table, code, metric, unbiased, np.dtype(np.float32), progress)
    assert found is not None
    return found


def nearest(matrix: NDArray[np.floating], code: GroupedCode) -> GroupedTable:
    """Each number to the nearest that its group's scale can say, the scale such that the group's
    largest number is met: what tools make that look at nothing else."""
    table = check_matrix(matrix)
    codes, scales = [], []
    for rows in row_blocks(len(table), _ROWS):
        groups = in_groups(table[rows], code.group_size)
        held = covering_scales(groups, code.bits).astype(np.float16)
        scales.append(held)
        codes.append(_codes(groups, held.astype(np.float32), code.bits, table.shape[1]))
    return GroupedTable(np.concatenate(codes), np.concatenate(scales), code)


def metric_error(
    matrix: NDArray[np.floating], table: GroupedTable, metric: NDArray[np.floating]
) -> float:
    """The mean of e' M e over the rows' errors e."""
    total = 0.0
    for rows in row_blocks(table.rows, _ROWS):
        wrong = np.asarray(matrix[rows], np.float64) - table.lookup(
            np.arange(rows.start, rows.stop)
        )
        total += float(np.einsum("nd,nd->", wrong @ metric, wrong))
    return total / table.rows


def _rounded(
    table: Float32,
    code: GroupedCode,
    metric: NDArray[np.floating] | None,
    unbiased: bool,
    dtype: np.dtype[np.floating],
    progress: Progress | None,
) -> GroupedTable | None:
    """With scales of ``dtype``; None where that changes them too much."""
    fit: _Plain | _InMetric = _Plain(code) if metric is None else _InMetric(code, metric)
    codes = np.empty(table.shape, np.uint8)
    scales = np.empty((len(table), -(-table.shape[1] // code.group_size)), dtype)
    changed = whole = 0.0
    for rows in row_blocks(len(table), _ROWS):
        block = table[rows]
        codes[rows], exact = fit(block, dtype)
        if unbiased:
            decoded = _values(codes[rows], exact, code)
            exact = exact * fit.factors(block, decoded)[:, None]
        with np.errstate(over="ignore"):
            scales[rows] = exact.astype(dtype)
        held = scales[rows].astype(np.float64)
        if not np.isfinite(held).all():
            return None
        changed += float(np.square(held - exact).sum())
        whole += float(np.square(exact.astype(np.float64)).sum())
        if progress is not None:
            progress(rows.stop / len(table), "rounding the table")
    if dtype == np.float16 and changed > _HALF**2 * whole:
        return None
    return GroupedTable(codes, scales, code)


class _Plain:
    """All directions count alike: each group is on its own."""

    def __init__(self, code: GroupedCode) -> None:
        self._code = code

    def __call__(
        self, block: Float32, dtype: np.dtype[np.floating]
    ) -> tuple[NDArray[np.uint8], Float32]:
        """Codes uint8 [n, d] and scales float32 [n, groups], as exact as ``dtype``."""
        groups = in_groups(block, self._code.group_size)
        scales = _as(dtype, search_scales(groups, self._code.bits))
        return _codes(groups, scales, self._code.bits, block.shape[1]), scales

    def factors(self, block: Float32, decoded: Float32) -> Float32:
        """As :func:`_factors`."""
        return _factors(block, decoded, block)


class _InMetric:
    """Errors e of a row count e' M e."""

    def __init__(self, code: GroupedCode, metric: NDArray[np.floating]) -> None:
        self._code = code
        exact = np.asarray(metric, np.float64)
        self._metric = (exact / np.trace(exact) * len(exact)).astype(np.float32)
        self._feedback = ErrorFeedback(exact)

    def __call__(
        self, block: Float32, dtype: np.dtype[np.floating]
    ) -> tuple[NDArray[np.uint8], Float32]:
        """Codes uint8 [n, d] and scales float32 [n, groups], as exact as ``dtype``."""
        code = self._code
        costs = in_groups(self._feedback.costs[None].astype(np.float32), code.group_size)[0]
        scales = _as(dtype, search_scales(in_groups(block, code.group_size), code.bits, costs))
        best: tuple[NDArray[np.uint8], Float32] | None = None
        least = np.full(len(block), np.inf, np.float32)
        for _ in range(_TURNS):
            codes = self._feedback.codes(block, scales, bits=code.bits, group_size=code.group_size)
            fitted = _as(dtype, self._fit(block, codes, scales))
            for each in (scales, fitted):
                error = self._error(block - _values(codes, each, code))
                if best is None:
                    best = codes.copy(), each.copy()
                else:
                    better = error < least
                    best[0][better], best[1][better] = codes[better], each[better]
                least = np.minimum(error, least)
            scales = fitted
        assert best is not None
        return best

    def factors(self, block: Float32, decoded: Float32) -> Float32:
        """As :func:`_factors`."""
        return _factors(block, decoded, block @ self._metric)

    def _error(self, wrong: Float32) -> Float32:
        found: Float32 = np.einsum("nd,nd->n", wrong @ self._metric, wrong)
        return found

    def _fit(self, block: Float32, codes: NDArray[np.uint8], scales: Float32) -> Float32:
        """The scales of least error, of all groups of a row together; codes stay."""
        code, (rows, width) = self._code, block.shape
        steps = codes.astype(np.float32) - np.float32(2 ** (code.bits - 1))
        starts = np.arange(0, width, code.group_size)
        own = np.empty((rows, len(starts), len(starts)), np.float64)
        for index, start in enumerate(starts):
            here = slice(start, start + code.group_size)
            moved = steps[:, here] @ self._metric[here]
            own[:, index] = np.add.reduceat(moved * steps, starts, axis=1)
        wanted = np.add.reduceat((block @ self._metric) * steps, starts, axis=1)
        diagonal = np.einsum("ngg->ng", own)  # a view
        empty = diagonal == 0
        diagonal *= 1 + _RIDGE
        diagonal[empty] = 1
        found: Float32 = np.linalg.solve(own, wanted[..., None])[..., 0].astype(np.float32)
        return np.where(empty | (found == 0), scales, found)


def search_scales(groups: Float32, bits: int, costs: NDArray[np.floating] | None = None) -> Float32:
    """The scale of each of ``groups`` [n, groups, group_size] that errs least, float32 [n, groups].

    ``costs`` [groups, group_size]: of each number's squared error; 1 without them.
    """
    low, high = np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)
    weight = np.float32(1) if costs is None else costs.astype(np.float32)
    full = covering_scales(groups, bits)
    best, least = full, np.full(full.shape, np.inf, np.float32)
    for scale in _candidates(full, bits):
        for _ in range(1 + _FITS):
            steps = np.clip(np.rint(groups / scale[..., None]), low, high)
            error = (np.square(steps * scale[..., None] - groups) * weight).sum(-1)
            better = error < least
            best, least = np.where(better, scale, best), np.minimum(error, least)
            power = (np.square(steps) * weight).sum(-1)
            inner = (steps * groups * weight).sum(-1)
            fitted = inner / np.where(power > 0, power, 1)
            scale = np.where((power > 0) & (fitted != 0), fitted, scale).astype(np.float32)
    return best.astype(np.float32, copy=False)


def _candidates(full: Float32, bits: int) -> Iterator[Float32]:
    """Scales to begin with; of two bits both signs, as the further step is half of the range."""
    for factor in _FACTORS:
        yield full * np.float32(factor)
        if bits == BITS[0]:
            yield full * np.float32(-factor)


def _codes(groups: Float32, scales: Float32, bits: int, width: int) -> NDArray[np.uint8]:
    safe = np.where(scales == 0, np.float32(1), scales)  # what half precision made nothing of
    return to_codes(groups, safe[..., None], bits).reshape(len(groups), -1)[:, :width]


def _values(codes: NDArray[np.uint8], scales: Float32, code: GroupedCode) -> Float32:
    return GroupedWeight(codes, scales, code.bits, code.group_size).dense()


def _factors(block: Float32, decoded: Float32, moved: Float32) -> Float32:
    """What each row is multiplied by so that <x, x^> is <x, x>, in the metric that has ``moved``
    the rows ``block``."""
    power = np.einsum("nd,nd->n", moved, block)
    inner = np.einsum("nd,nd->n", moved, decoded)
    ratio = power / np.where(inner > 0, inner, 1)
    found: Float32 = np.where((inner > 0) & (power > 0), ratio, 1).astype(np.float32)
    return found.clip(1 / _MOST_FACTOR, _MOST_FACTOR)


def _as(dtype: np.dtype[np.floating], scales: Float32) -> Float32:
    """``scales`` as exact as ``dtype`` holds them; what is too large for it is told later."""
    with np.errstate(over="ignore"):
        held = scales.astype(dtype).astype(np.float32)
    return np.where(np.isfinite(held) & (held != 0), held, scales)
