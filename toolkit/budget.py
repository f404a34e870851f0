"""Bytes to layout: how many bytes for every row, what each stands for, and which rows get more.

Nothing is trained here. A byte that stands for k latent values leaves a known share of a Gaussian's
squared error; directions of much variance want few values to a byte, the others many. The expected
error of every layout that fits the bytes follows from the table's spectrum and from the frequency
prior, and the best one is returned.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BudgetError, InputError

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
# Squared error left of a Gaussian by 0 .. 6 planes, each one byte for eight columns with a codebook
# of its own (measured), or one sign a column: a uniform quantiser (Max 1960, table II).
CODEBOOK_PLANE_ERROR = np.array([1.0, 0.3165, 0.0998, 0.0329, 0.0108, 0.0036, 0.0012])
SIGN_PLANE_ERROR = np.array([1.0, 0.3634, 0.1188, 0.0374, 0.0115, 0.0035, 0.0010])
_ERRORS = np.array([BYTE_ERROR.get(k, 1.0) for k in range(max(BYTE_ERROR) + 1)])
_PAIRS = np.array([(k, more) for k in BYTE_ERROR for more in BYTE_ERROR if k <= more])
PLANE_COLUMNS = 8  # columns that a byte of a plane stands for
GAIN_LEVELS_BYTES = 4 * 256
SIGN_TABLE_BYTES = 256 * 8  # in a graph, the table that unpacks signs
# Rows of less than this share of the mean weight are a tail: they share one vector.
_TAIL_WEIGHT = 0.01
_TIER_HEADER = 320  # bytes of a file's header that one more stage takes, at most
_SMALL = 200_000  # bytes, below which a plane's codebook is worth comparing with none
_WORTH = 0.99  # a dearer code is tried if it leaves less than this share of a cheaper one's error
_SPLITS = 12  # boundaries tried between a code's two parts

Int64 = NDArray[np.int64]


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
class Part:
    """Part of the code that every row has: ``groups`` bytes, each for ``k`` latent values."""

    groups: int
    k: int


@dataclass(frozen=True)
class Layout:
    """What the budget buys.

    Attributes:
        parts: the code of every row, directions of most variance first.
        covered: positions that have a code; those beyond share one vector.
        tiers: rows covered by each further stage of one byte for eight columns, falling.
        codebooks: whether those stages have codebooks of their own or are signs.
        gain: whether each row stores a factor.
        block: ids in one block of the row order; 0 keeps the rows where they are.
        nbytes: bytes the tensors and their header will take, at most.
        expected_error: predicted relative squared error, weighted by the prior.
        columns: values to a byte of a code of the columns themselves, which every row has in place
            of ``parts``; 0 for none.
    """

    parts: tuple[Part, ...]
    covered: int
    tiers: tuple[int, ...]
    codebooks: bool
    gain: bool
    block: int
    nbytes: int
    expected_error: float
    columns: int = 0

    def planes(self) -> tuple[tuple[int, int], ...]:
        """Rows, and columns to a byte, of each stage without a decoder."""
        base = ((self.covered, self.columns),) if self.columns else ()
        return (*base, *((rows, PLANE_COLUMNS) for rows in self.tiers))

    def bytes_per_row(self, width: int) -> int:
        """Bytes that every row has: its code, and its length if that is stored."""
        columns = -(-width // self.columns) if self.columns else 0
        return sum(part.groups for part in self.parts) + columns + self.gain


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What there is to code.

    Attributes:
        variances: eigenvalues of the rows' covariance, float64 [d], any order.
        total: their sum before anything was taken away, the measure of relative error.
        prefix: parts that were measured rather than predicted, and are already taken away.
        gain: whether rows were brought to one length, and store it.
    """

    variances: NDArray[np.float64]
    total: float
    prefix: tuple[Part, ...] = ()
    gain: bool = False


def layout_nbytes(
    rows: int,
    width: int,
    *,
    parts: tuple[Part, ...],
    covered: int,
    tiers: tuple[int, ...],
    codebooks: bool,
    gain: bool,
    block: int,
    columns: int = 0,
) -> int:
    """Bytes of every tensor of a layout and of the file's header, at most."""
    tensors: list[tuple[str, tuple[int, ...], int]] = [("mean", (width,), 4)]
    if covered < rows:
        tensors.append(("tail", (width,), 4))
    if block:
        tensors.append(("order.starts", (-(-rows // block),), 4))
    if gain:
        tensors += [("gain.codes", (covered,), 1), ("gain.levels", (256,), 4)]
    stages = [(covered, p.groups, p.k, p.groups * p.k) for p in parts]
    stages += [(covered, -(-width // columns), columns, 0)] if columns else []
    stages += [(n, -(-width // PLANE_COLUMNS), PLANE_COLUMNS * codebooks, 0) for n in tiers]
    for index, (n, groups, k, latents) in enumerate(stages):
        name = f"stages.{index}"
        tensors += [(f"{name}.codes", (n, groups), 1), (f"{name}.scale", (width,), 4)]
        tensors += [(f"{name}.codebook", (256, k), 1)] if k else []
        tensors += [(f"{name}.weight", (latents, width), 1)] if latents else []
    total = sum(size * math.prod(shape) for _, shape, size in tensors)
    total += header_nbytes(tensors, len(stages), total)
    return total + SIGN_TABLE_BYTES * (bool(tiers) and not codebooks)


def plan_layout(
    spectra: Sequence[Spectrum],
    orders: Sequence[tuple[int, NDArray[np.float64]]],
    budget: Budget,
    *,
    most_tiers: int = len(CODEBOOK_PLANE_ERROR) - 1,
) -> Layout:
    """The layout of least expected error within the budget.

    Args:
        spectra: what may be coded, all of one width.
        orders: ways to sort the rows: ids in one block of the order (0 for no order), and the
            importance of each position [V], falling: position 0 matters most.
        budget: what may be spent.
        most_tiers: stages for frequent rows, at most.

    Raises:
        BudgetError: nothing fits; the message names the largest ratio that does.
    """
    rows, width = len(orders[0][1]), len(spectra[0].variances)
    allowed = budget.bytes_for(rows, width)
    codes = [(spectrum, list(_codes(spectrum, allowed, rows))) for spectrum in spectra]
    best: Layout | None = None
    for block, weights in orders:
        covered = _covered(weights, width)
        tiers = [
            _Tiers(weights[:covered], errors[: most_tiers + 1], width, codebooks=codebooks)
            for errors, codebooks in ((CODEBOOK_PLANE_ERROR, True), (SIGN_PLANE_ERROR, False))
            if codebooks or allowed < _SMALL
        ]
        for spectrum, candidates in codes:
            for parts, columns, error in candidates:
                code = _Code(parts, columns, covered, spectrum.gain, block)
                best = _with_tiers(rows, width, allowed, code, error, tiers, best) or best
    if best is None:
        gain = all(spectrum.gain for spectrum in spectra)
        raise BudgetError(_too_few(rows, width, allowed, orders[0][0], gain))
    return best


@dataclass(frozen=True)
class _Code:
    """A layout without its tiers."""

    parts: tuple[Part, ...]
    columns: int
    covered: int
    gain: bool
    block: int


def _with_tiers(
    rows: int,
    width: int,
    allowed: int,
    code: _Code,
    error: float,
    tiers: Sequence["_Tiers"],
    best: Layout | None,
) -> Layout | None:
    """The best layout with this code, if it is better than ``best``."""
    same: dict[str, Any] = {field.name: getattr(code, field.name) for field in fields(code)}
    base = layout_nbytes(rows, width, tiers=(), codebooks=False, **same)
    found = None
    least = math.inf if best is None else best.expected_error
    empty = error > 0 and not (code.parts or code.columns)  # nothing to code is coded by nothing
    for tier in tiers if base <= allowed else ():
        if code.columns and not tier.codebooks:
            continue
        for counts, share in tier.best(allowed - base):
            if error * share >= least or (empty and not counts):
                continue
            codebooks = (tier.codebooks and bool(counts)) or bool(code.columns)
            shape = {**same, "tiers": counts, "codebooks": codebooks}
            nbytes = layout_nbytes(rows, width, **shape)
            if nbytes <= allowed:
                least = error * share
                found = Layout(**shape, nbytes=nbytes, expected_error=least)
    return found


def header_nbytes(
    tensors: Sequence[tuple[str, tuple[int, ...], int]], stages: int, total: int
) -> int:
    """What safetensors' JSON header takes for tensors (name, shape, bytes a value), at most.

    ``total`` bytes of data bound how long an offset is.
    """
    offset = len(str(total))
    entries = sum(len(name) + len(str(list(shape))) + 2 * offset + 44 for name, shape, _ in tensors)
    return 160 + entries + 64 * stages


def _plane_bytes(width: int) -> int:
    return -(-width // PLANE_COLUMNS)


def _covered(weights: NDArray[np.float64], width: int) -> int:
    """Positions worth a code: all, unless a tail is next to never used and larger than its cost."""
    rows = len(weights)
    used = int(np.searchsorted(-weights, -_TAIL_WEIGHT * weights.sum() / rows, side="right"))
    return used if used > 0 and rows - used > width else rows


def _too_few(rows: int, width: int, allowed: int, block: int, gain: bool) -> str:
    least = layout_nbytes(
        rows,
        width,
        parts=(Part(1, 1),),
        covered=rows,
        tiers=(),
        codebooks=False,
        gain=gain,
        block=block,
    )
    ratio = math.floor(10 * rows * width * 4 / least) / 10  # never more than can be had
    reach = f"ratio {ratio:.1f}" if ratio >= 1 else "more than the table itself"
    return (
        f"{allowed:,} bytes are too few for a {rows} x {width} table; the nearest that can be "
        f"reached is {least:,} bytes, {reach}"
    )


def _codes(
    spectrum: Spectrum, allowed: int, rows: int
) -> Iterator[tuple[tuple[Part, ...], int, float]]:
    """Codes that fit, each with the error it leaves: its parts, or its columns to a byte.

    Directions stand in order of variance. A code has up to two parts: the first of fewer values to
    a byte, for the strong directions, the second of more. Codes come by rising cost, and each
    leaves less than all before.
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
        parts = [Part(int(first[index]), int(k[index]))]
        parts += [Part(int(second[index]), int(more[index]))] if second[index] else []
        yield (*spectrum.prefix, *parts), 0, least / scale


def _splits(most: int, width: int) -> tuple[Int64, Int64, Int64, Int64]:
    """Bytes and values to a byte of both parts, for all codes of up to ``most`` bytes.

    A code of one part has a second of no bytes. Latents are never more than columns but for what
    fills the last byte.
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
    alone = (second == 0) == (more == k)  # a code of one part is listed once
    fits = alone & (first * k + second * more < width + np.where(second > 0, more, k))
    return first[fits], k[fits], second[fits], more[fits]


class _Tiers:
    """Planes for the rows that matter most: where a byte removes most weighted error."""

    def __init__(
        self,
        weights: NDArray[np.float64],
        errors: NDArray[np.float64],
        width: int,
        *,
        codebooks: bool,
    ) -> None:
        self.codebooks = codebooks
        self._weights, self._errors, self._width = weights, errors, width
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights)])
        self._gains = -np.diff(errors)
        worth = [weights * gain for gain in self._gains]
        self._rising = [-worth for worth in worth]
        self._ranked = [
            np.sort(np.concatenate(worth[:planes]))[::-1] for planes in range(1, len(worth) + 1)
        ]

    def best(self, left: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Rows of each plane for ``left`` bytes, by number of planes, and the error they leave."""
        yield (), 1.0
        stage = 4 * self._width + 256 * 8 * self.codebooks + _TIER_HEADER
        once = 0 if self.codebooks else SIGN_TABLE_BYTES
        for planes, ranked in enumerate(self._ranked, start=1):
            affordable = (left - once - planes * stage) // _plane_bytes(self._width)
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
