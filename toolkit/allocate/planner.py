"""Bytes to allocation: how many bytes for every row, what each stands for, and which rows get more.

Nothing is trained here. A byte that stands for k latent values leaves a known share of a Gaussian's
squared error; directions of much variance want few values to a byte, the others many. The expected
error of every allocation that fits the bytes follows from the table's spectrum and from the
frequency prior, and the best one is returned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BudgetError
from .allocation import STAGE_COLUMNS, Allocation, Subquantizer, allocation_nbytes
from .budget import Budget
from .candidates import Spectrum, candidate_codes
from .row_counts import MOST_STAGES, STACK_ERROR, STAGE_ERROR, RowCounts

# Rows of less than this share of the mean weight are a tail: they share one vector.
_TAIL_WEIGHT = 0.01


def plan_allocation(
    spectra: Sequence[Spectrum],
    orders: Sequence[tuple[int, NDArray[np.float64]]],
    budget: Budget,
    *,
    most_stages: int = MOST_STAGES,
    dense_stages: bool = False,
) -> Allocation:
    """The allocation of least expected error within the budget.

    Args:
        spectra: what may be coded, all of one width.
        orders: ways to sort the rows: ids in one block of the order (0 for no order), and the
            importance of each position [V], falling: position 0 matters most.
        budget: what may be spent.
        most_stages: stages for frequent rows, at most.
        dense_stages: give each of these a decoder of its own.

    Raises:
        BudgetError: nothing fits; the message names the largest ratio that does.
    """
    rows, width = len(orders[0][1]), len(spectra[0].variances)
    allowed = budget.bytes_for(rows, width)
    codes = [(spectrum, list(candidate_codes(spectrum, allowed, rows))) for spectrum in spectra]
    best: Allocation | None = None
    for block, weights in orders:
        covered = _covered(weights, width)
        weights = weights[:covered]
        errors = STAGE_ERROR[: most_stages + 1]
        beside = RowCounts(weights, errors, width, dense=dense_stages)
        # Residual stages on a code of as many columns to a byte are searched together with it.
        above = RowCounts(weights, (STACK_ERROR[1:] / STACK_ERROR[1])[: most_stages + 1], width)
        for spectrum, candidates in codes:
            for subquantizers, columns, error in candidates:
                if columns and dense_stages:
                    continue  # columns are searched on their own, without a metric
                code = _Code(subquantizers, columns, covered, spectrum.gain, block, dense_stages)
                row_counts = above if columns == STAGE_COLUMNS else beside
                best = _with_stages(rows, width, allowed, code, error, row_counts, best) or best
    if best is None:
        gain = all(spectrum.gain for spectrum in spectra)
        least = _least(rows, width, orders[0][0], gain)
        raise BudgetError(too_few(rows, width, allowed, least), least)
    return best


@dataclass(frozen=True)
class _Code:
    """An allocation without its residual stages."""

    subquantizers: tuple[Subquantizer, ...]
    columns: int
    covered: int
    gain: bool
    block: int
    dense_stages: bool


def _with_stages(
    rows: int,
    width: int,
    allowed: int,
    code: _Code,
    error: float,
    row_counts: RowCounts,
    best: Allocation | None,
) -> Allocation | None:
    """The best allocation with this code, if it is better than ``best``."""
    same: dict[str, Any] = {field.name: getattr(code, field.name) for field in fields(code)}
    base = allocation_nbytes(rows, width, row_counts=(), **same)
    found = None
    least = math.inf if best is None else best.expected_error
    empty = error > 0 and not (
        code.subquantizers or code.columns
    )  # nothing to code is coded by nothing
    for counts, share in row_counts.best(allowed - base):
        if base > allowed or error * share >= least or (empty and not counts):
            continue
        nbytes = allocation_nbytes(rows, width, row_counts=counts, **same)
        if nbytes <= allowed:
            least = error * share
            found = Allocation(**same, row_counts=counts, nbytes=nbytes, expected_error=least)
    return found


def _covered(weights: NDArray[np.float64], width: int) -> int:
    """Positions worth a code: all, unless a tail is next to never used and larger than its cost."""
    rows = len(weights)
    used = int(np.searchsorted(-weights, -_TAIL_WEIGHT * weights.sum() / rows, side="right"))
    return used if used > 0 and rows - used > width else rows


def _least(rows: int, width: int, block: int, gain: bool) -> int:
    return allocation_nbytes(
        rows,
        width,
        subquantizers=(Subquantizer(1, 1),),
        covered=rows,
        row_counts=(),
        gain=gain,
        block=block,
    )


def too_few(rows: int, width: int, allowed: int, least: int) -> str:
    """What to say of a budget of ``allowed`` bytes where ``least`` is what a table can take."""
    ratio = math.floor(10 * rows * width * 4 / least) / 10  # never more than can be had
    reach = f"ratio {ratio:.1f}" if ratio >= 1 else "more than the table itself"
    return (
        f"{allowed:,} bytes are too few for a {rows} x {width} table; the nearest that can be "
        f"reached is {least:,} bytes, {reach}"
    )
