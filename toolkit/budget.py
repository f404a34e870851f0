"""Bytes to layout: how many bits for every row, which rows get more, and whether a rank pays.

Nothing is trained here. The expected error of a candidate layout is predicted from the table's
spectrum (Gaussian reverse water-filling) and from the frequency prior, and the best one that fits
the bytes is returned.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bitpack import bytes_per_row
from .errors import BudgetError, InputError

# Share of its bits that a learned binary code turns into rate, against the Gaussian bound:
# measured 0.75 - 0.79 on real and synthetic tables at 0.3 to 1.3 bits per entry.
CODE_EFFICIENCY = 0.77
# Squared error left of a Gaussian by 0 .. 6 planes of a uniform quantiser (Max 1960, table II).
PLANE_ERROR = np.array([1.0, 0.3634, 0.1188, 0.0374, 0.0115, 0.0035, 0.0010])
# The safetensors header (up to 2.5 kB); in a graph, the 256-entry table that unpacks bytes (2 kB).
FIXED_BYTES = 3072
_TIERS_SCALES = 4 * (len(PLANE_ERROR) - 1)  # bytes a column that the scales of all planes take
_FACTOR_BITS = 8
_FACTOR_ERROR = 1e-4  # of a direction's variance, left by int8 with peaks at 4 deviations
_MAX_RANK = 32


@dataclass(frozen=True)
class Budget:
    """How large the result may be: give exactly one.

    Attributes:
        ratio: float32 bytes over stored bytes, at least.
        max_bytes: stored bytes, at most.
        min_cosine: mean cosine between a row and its decoded form, at least, each row counting by
            its importance; the smallest table that has it.
    """

    ratio: float | None = None
    max_bytes: int | None = None
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        if [self.ratio, self.max_bytes, self.min_cosine].count(None) != 2:
            raise InputError(
                f"give ratio, max_bytes or min_cosine, one of them; got ratio={self.ratio}, "
                f"max_bytes={self.max_bytes}, min_cosine={self.min_cosine}"
            )
        if self.min_cosine is not None and not 0 < self.min_cosine < 1:
            raise InputError(f"min_cosine must lie between 0 and 1, got {self.min_cosine}")
        if self.ratio is not None and not (math.isfinite(self.ratio) and self.ratio >= 1):
            raise InputError(f"ratio must be a number from 1 up, got {self.ratio}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise InputError(f"max_bytes must be positive, got {self.max_bytes}")

    def bytes_for(self, rows: int, width: int) -> int:
        """The most bytes that a ``rows`` x ``width`` table may take."""
        if self.max_bytes is not None:
            return self.max_bytes
        if self.ratio is None:
            raise InputError("a budget of min_cosine alone has no bytes until a table is fitted")
        return int(rows * width * 4 / self.ratio)


@dataclass(frozen=True)
class Layout:
    """What the budget buys.

    Attributes:
        rank: columns of the low-rank factors; 0 for none.
        bits: bits of the dense code that every row gets.
        tiers: rows covered by each further one-bit-a-column stage, falling.
        block: ids in one block of the row order; 0 keeps the rows where they are.
        nbytes: bytes the tensors will take, :data:`FIXED_BYTES` included.
        expected_error: predicted relative squared error, weighted by the prior.
    """

    rank: int
    bits: int
    tiers: tuple[int, ...]
    block: int
    nbytes: int
    expected_error: float


def layout_nbytes(
    rows: int, width: int, *, rank: int, bits: int, tiers: tuple[int, ...], block: int
) -> int:
    """Bytes of every tensor of a layout, plus :data:`FIXED_BYTES`."""
    scales = 4 * width
    total = FIXED_BYTES + 4 * width
    if rank:
        total += rank * (rows + width + 4)
    if bits:
        total += rows * bytes_per_row(bits) + bits * width + scales
    total += sum(n * bytes_per_row(width) + scales for n in tiers)
    if block:
        total += 4 * -(-rows // block)
    return total


def plan_layout(
    spectrum: NDArray[np.float64],
    weights: NDArray[np.float64],
    budget: Budget,
    *,
    block: int,
    rank: int | None = None,
) -> Layout:
    """The layout of least expected error within the budget.

    Args:
        spectrum: eigenvalues of the centred table's covariance [d], any order.
        weights: importance of each position [V], falling: position 0 matters most.
        budget: what may be spent.
        block: ids a block of the row order holds, 0 for no order.
        rank: force a rank; None lets arithmetic choose.

    Raises:
        BudgetError: nothing fits; the message names the largest ratio that does.
    """
    rows, width = len(weights), len(spectrum)
    allowed = budget.bytes_for(rows, width)
    spectrum = np.sort(np.maximum(spectrum, 0.0))[::-1]
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    best: Layout | None = None
    for bits in range(0, max(8, 8 * width) + 1, 8):
        ranks = [rank] if rank is not None else _ranks_worth_trying(spectrum, bits)
        for k in ranks:
            base = layout_nbytes(rows, width, rank=k, bits=bits, tiers=(), block=block)
            if base > allowed:
                continue
            residual = np.sort(np.append(spectrum[k:], _FACTOR_ERROR * spectrum[:k]))[::-1]
            base_error = _water_filling(residual, CODE_EFFICIENCY * bits) / max(
                spectrum.sum(), 1e-30
            )
            tiers = _best_tiers(weights, width, allowed - base)
            if not (bits or k or tiers):
                continue
            error = base_error * _share_left(cumulative, tiers)
            if best is None or error < best.expected_error:
                nbytes = layout_nbytes(rows, width, rank=k, bits=bits, tiers=tiers, block=block)
                best = Layout(k, bits, tiers, block, nbytes, float(error))
    if best is None:
        smallest = _smallest_nbytes(rows, width, rank=rank or 0, block=block)
        ratio = math.floor(10 * rows * width * 4 / smallest) / 10  # never more than can be had
        reach = f"ratio {ratio:.1f}" if ratio >= 1 else "more than the table itself"
        raise BudgetError(
            f"{allowed:,} bytes are too few for a {rows} x {width} table; the nearest that can be "
            f"reached is {smallest:,} bytes, {reach}"
        )
    return best


def _smallest_nbytes(rows: int, width: int, *, rank: int, block: int) -> int:
    """The least budget that :func:`plan_layout` finds a layout for."""
    empty = layout_nbytes(rows, width, rank=rank, bits=0, tiers=(), block=block)
    if rank:
        return empty
    one_byte = layout_nbytes(rows, width, rank=0, bits=8, tiers=(), block=block)
    return min(one_byte, empty + _TIERS_SCALES * width + bytes_per_row(width))


def _best_tiers(weights: NDArray[np.float64], width: int, left: int) -> tuple[int, ...]:
    """Rows of each plane: spend ``left`` bytes where weight times the error removed is largest."""
    planes = len(PLANE_ERROR) - 1
    gains = -np.diff(PLANE_ERROR)
    affordable = (left - _TIERS_SCALES * width) // bytes_per_row(width)
    if affordable <= 0:
        return ()
    worth = weights[:, None] * gains[None, :]
    if affordable >= worth.size:
        return (len(weights),) * planes
    threshold = np.partition(worth.ravel(), worth.size - affordable)[worth.size - affordable]
    counts = [int((worth[:, p] > threshold).sum()) for p in range(planes)]
    # Rows of equal worth: hand what is left to the cheapest plane first, never past the one below.
    spare = int(affordable) - sum(counts)
    for p in range(planes):
        ceiling = len(weights) if p == 0 else counts[p - 1]
        tied = int((worth[:, p] == threshold).sum())
        extra = max(0, min(spare, tied, ceiling - counts[p]))
        counts[p] += extra
        spare -= extra
    return tuple(n for n in counts if n)


def _share_left(cumulative: NDArray[np.float64], tiers: tuple[int, ...]) -> float:
    """Weighted mean of the error that the planes leave, over all rows."""
    edges = [*tiers, 0]
    total = cumulative[-1] - cumulative[tiers[0] if tiers else 0]
    for depth, (outer, inner) in enumerate(itertools.pairwise(edges), start=1):
        total += PLANE_ERROR[depth] * (cumulative[outer] - cumulative[inner])
    return float(total / cumulative[-1])


def _ranks_worth_trying(spectrum: NDArray[np.float64], bits: int) -> list[int]:
    """0, and the number of directions so strong that int8 is the cheapest way to hold them.

    A direction of variance v coded down to the water level D takes log2(v / D) / 2 bits of the
    code; stored apart in int8 it takes 8. So only v > 2**16 D is worth a column of the factors.
    """
    level = _water_level(spectrum, CODE_EFFICIENCY * bits)
    k = int((spectrum > level * 2.0 ** (2 * _FACTOR_BITS)).sum())
    return [0, min(k, _MAX_RANK)] if k else [0]


def _water_level(spectrum: NDArray[np.float64], bits: float) -> float:
    """D such that sum over directions of max(0, log2(v / D) / 2) equals ``bits``."""
    positive = spectrum[spectrum > 0]
    if not positive.size:
        return 0.0
    logs = np.log2(positive)
    counts = np.arange(1, positive.size + 1)
    levels = (np.cumsum(logs) - 2 * bits) / counts  # log2 D if only the first n are coded
    return float(2.0 ** levels.max())


def _water_filling(spectrum: NDArray[np.float64], bits: float) -> float:
    """Least squared error a row of a Gaussian source at ``bits`` a row (Cover & Thomas, 10.3.3)."""
    return float(np.minimum(spectrum, _water_level(spectrum, bits)).sum())
