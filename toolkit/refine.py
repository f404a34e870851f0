"""After training: alternate between the decoder that suits the codes and codes that suit it.

An amortised encoder finds each row's code in one product; it cannot weigh one bit against another.
Both halves of the problem are easy once the other is fixed: the decoder is a least-squares problem
with a closed form, and a row's code improves by flipping single bits as long as one flip helps.
The decoder is quantised *before* the codes are searched, so the codes make up for its rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .autoencoder import add_decoded, least_squares
from .blocks import row_blocks

_BLOCK_ROWS = 1024  # rows searched at a time: their gains stay in the second-level cache
_PLANE_SWEEPS = 3
JOINT_ROUNDS = 2  # of dense code and planes together, after the rounds of the dense code alone
_COMPACT = 0.7  # share of rows still changing below which the others are dropped


@dataclass(frozen=True)
class Quantised:
    """A decoder in int8: ``weight`` holds integers as float [m, d], ``scale`` is float [d]."""

    weight: Tensor
    scale: Tensor

    def dense(self) -> Tensor:
        """What the int8 decoder stands for, float [m, d]."""
        return self.weight * self.scale


@dataclass(frozen=True)
class Plane:
    """One bit a column for the first ``signs.shape[0]`` rows: contributes ``signs * scale``."""

    signs: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Refined:
    """All rows' dense code (``signs`` int8 [V, m] of -1, +1), its decoder, and the planes."""

    signs: Tensor
    decoder: Quantised
    planes: tuple[Plane, ...]


def refine(
    target: Tensor,
    signs: Tensor,
    tiers: tuple[int, ...],
    weights: Tensor,
    *,
    rounds: int,
    flips: int,
    on_round: Callable[[], None] = lambda: None,
) -> Refined:
    """Alternate until ``rounds`` are over, then fit the planes to what is left, jointly.

    Args:
        target: what the codes have to explain, float [V, d], rows in order of importance;
            changed on the way, and the same again at the end but for rounding.
        signs: where to start, int8 [V, m]; changed in place.
        tiers: rows that each plane covers.
        weights: importance of each row for the decoder's fit, float [V].
        rounds: alternations; 0 fits the decoder to ``signs`` as they are.
        flips: most bits a row flips in one round.
    """
    decoder = quantise_columns(least_squares(signs, target, weights))
    for _ in range(rounds):
        search_codes(signs, target, decoder.dense(), flips)
        decoder = quantise_columns(least_squares(signs, target, weights))
        on_round()
    if rounds:
        search_codes(signs, target, decoder.dense(), 2 * flips)
    planes = _planes_of_what_is_left(target, signs, decoder, tiers, weights)
    for _ in range(JOINT_ROUNDS if rounds and tiers else 0):
        # The frequent rows' planes explain part of the target: what the dense code has to say about
        # those rows changes, and so does the decoder that serves all the others.
        decoder = quantise_columns(least_squares(signs, target, weights))
        search_codes(signs, target, decoder.dense(), flips)
        add_planes(target, planes, 1.0)
        planes = _planes_of_what_is_left(target, signs, decoder, tiers, weights)
        on_round()
    add_planes(target, planes, 1.0)
    return Refined(signs, decoder, planes)


def _planes_of_what_is_left(
    target: Tensor, signs: Tensor, decoder: Quantised, tiers: tuple[int, ...], weights: Tensor
) -> tuple[Plane, ...]:
    """Fit planes to what the dense code leaves, and take them away from ``target``, in place."""
    covered = target[: tiers[0] if tiers else 0]
    add_decoded(covered, signs, -decoder.dense())
    planes = fit_planes(covered, tiers, weights)
    add_decoded(covered, signs, decoder.dense())
    return planes


def quantise_columns(decoder: Tensor) -> Quantised:
    """int8 with one scale a column, so that an integer product can be scaled once at its end."""
    scale = decoder.abs().amax(dim=0).clamp_min(1e-30) / 127
    return Quantised(torch.round(decoder / scale), scale)


def search_codes(signs: Tensor, target: Tensor, decoder: Tensor, flips: int) -> None:
    """Flip, row by row, the bit that lowers the squared error most, up to ``flips`` times.

    With r = x - b D, flipping bit j changes ||r||^2 by 4 (b_j <r, d_j> + ||d_j||^2). The products
    <r, d_j> are kept for all j and updated from the decoder's Gram matrix, so a flip costs m
    operations, not m d. ``signs`` [n, m] is changed in place.
    """
    gram = decoder @ decoder.T
    tolerance = 1e-6 * gram.diagonal().mean()
    for rows in row_blocks(len(target), _BLOCK_ROWS):
        block = signs[rows].to(decoder.dtype)
        residual = target[rows] - block @ decoder
        _flip_bits(block, block * (residual @ decoder.T), gram, flips, tolerance)
        signs[rows] = block.to(signs.dtype)


def _flip_bits(
    block: Tensor, agreement: Tensor, gram: Tensor, flips: int, tolerance: Tensor
) -> None:
    """Flip bits of ``block`` [n, m] in place; ``agreement`` holds b_j <r, d_j> [n, m]."""
    norms = gram.diagonal()
    working, rows = block, None
    for _ in range(flips):
        change, bit = (agreement + norms).min(dim=1)
        active = change < -tolerance
        count = int(active.sum())
        if not count:
            break
        if count < _COMPACT * len(working):  # rows that have settled would only cost time
            if rows is not None:
                block[rows] = working
            kept = active.nonzero()[:, 0]
            rows = kept if rows is None else rows[kept]
            working, agreement, bit = block[rows], agreement[kept], bit[kept]
            active = active[kept]
        index = bit[:, None]
        step = 2 * working.gather(1, index) * active[:, None]
        agreement += working * (step * gram[bit])
        turn = torch.where(active, -1.0, 1.0)[:, None]
        agreement.scatter_(1, index, agreement.gather(1, index) * turn)
        working.scatter_(1, index, working.gather(1, index) * turn)
    if rows is not None:
        block[rows] = working


def fit_planes(residual: Tensor, tiers: tuple[int, ...], weights: Tensor) -> tuple[Plane, ...]:
    """One sign a column on what is left, plane after plane, then each again given the others.

    ``residual`` [n, d] holds at least the first tier's rows; the planes are taken away in place.
    """
    planes: list[Plane] = []
    for rows in tiers:
        planes.append(_fit_plane(residual[:rows], weights[:rows]))
        add_planes(residual, (planes[-1],), -1.0)
    for _ in range(_PLANE_SWEEPS):
        for index, rows in enumerate(tiers):
            add_planes(residual, (planes[index],), 1.0)
            planes[index] = _fit_plane(residual[:rows], weights[:rows])
            add_planes(residual, (planes[index],), -1.0)
    return tuple(planes)


def add_planes(target: Tensor, planes: tuple[Plane, ...], factor: float) -> None:
    """Add ``factor`` times what all planes contribute to ``target`` [V, d], in place."""
    for plane in planes:
        for rows in row_blocks(len(plane.signs)):
            target[rows] += plane.signs[rows] * (factor * plane.scale)


def _fit_plane(residual: Tensor, weights: Tensor) -> Plane:
    signs = torch.empty(residual.shape, dtype=torch.int8, device=residual.device)
    # The least-squares scale of a sign code is the (weighted) mean magnitude.
    total = torch.zeros_like(residual[0])
    for rows in row_blocks(len(residual)):
        signs[rows] = (residual[rows] > 0).to(torch.int8) * 2 - 1
        total += weights[rows] @ residual[rows].abs()
    return Plane(signs, total / weights.sum().clamp_min(1e-30))
