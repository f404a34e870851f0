"""Stages without a decoder: a byte for a few columns of what is left, for some rows or for all.

Most are for the rows that matter most, a byte for eight columns. A plane needs one scale a column
and no more. With a codebook its byte is one of 256 vectors, trained on the residual; without, it is
eight signs (nothing to store, for tables so small that 2 kB count).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import bitpack
from .blocks import row_blocks
from .embedding import CODEBOOK_PEAK
from .kmeans import ENTRIES, as_integers, kmeans, nearest
from .parallel import for_row_blocks, largest

_SWEEPS = 3
_LEAST_SCALE = 0.01  # of a column's spread over all rows alike
_BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Plane:
    """``codes`` uint8 [n, groups], ``codebook`` float [256, k] of integers, ``scale`` float [d]."""

    codes: Tensor
    codebook: Tensor
    scale: Tensor

    @property
    def k(self) -> int:
        """Columns that a byte stands for."""
        return self.codebook.shape[1]

    def values(self, rows: slice) -> Tensor:
        """What the codes stand for, float [n, d]."""
        flat = self.codebook[self.codes[rows].long()].flatten(1)
        return flat[:, : len(self.scale)] * self.scale


def fit_planes(
    residual: Tensor,
    tiers: Sequence[tuple[int, int]],
    weights: Tensor,
    *,
    codebooks: bool,
    generator: torch.Generator,
) -> tuple[Plane, ...]:
    """One plane after another on what is left, then each again given the others.

    Args:
        residual: what there is to explain, float [n, d], at least the first tier's rows; the planes
            are taken away in place.
        tiers: rows, and columns to a byte, of each plane.
        weights: importance of each row, float [n] or longer.
        codebooks: train codebooks; else bytes are eight signs.
        generator: picks the samples that codebooks start from.
    """
    planes: list[Plane] = []
    for rows, k in tiers:
        covered, weight = residual[:rows], weights[:rows]
        planes.append(_start(covered, weight, k, codebooks, generator))
        add_planes(residual, planes[-1:], -1.0)
    for _ in range(_SWEEPS):
        for index, (rows, _) in enumerate(tiers):
            add_planes(residual, planes[index : index + 1], 1.0)
            planes[index] = _refit(planes[index], residual[:rows], weights[:rows], codebooks)
            add_planes(residual, planes[index : index + 1], -1.0)
    return tuple(planes)


def add_planes(target: Tensor, planes: tuple[Plane, ...] | list[Plane], factor: float) -> None:
    """Add ``factor`` times what all planes contribute to ``target`` [V, d], in place."""
    for plane in planes:
        for rows in row_blocks(len(plane.codes)):
            target[rows].add_(plane.values(rows), alpha=factor)


def _start(
    residual: Tensor, weights: Tensor, k: int, codebooks: bool, generator: torch.Generator
) -> Plane:
    groups = -(-residual.shape[1] // k)
    codes = torch.empty(len(residual), groups, dtype=torch.uint8, device=residual.device)
    signs = torch.from_numpy(bitpack.signs()).to(residual)
    power = torch.zeros_like(residual[0])
    magnitude = torch.zeros_like(residual[0])
    for rows in row_blocks(len(residual)):
        power += weights[rows] @ residual[rows] ** 2
        magnitude += weights[rows] @ residual[rows].abs()
    total = weights.sum().clamp_min(1e-30)
    if not codebooks:
        # The least-squares scale of a sign code is the (weighted) mean magnitude.
        plane = Plane(codes, signs, magnitude / total)
        return _assign(plane, residual)
    # Rows of no weight are coded too: a column that varies among them alone still needs a scale.
    plain = residual.pow(2).mean(dim=0).sqrt()
    scale = torch.maximum((power / total).sqrt(), _LEAST_SCALE * plain).clamp_min(1e-30)
    sample = torch.randperm(len(residual), generator=generator)[:4096].to(residual.device)
    values = _grouped(residual[sample] / scale, k).reshape(-1, k)
    book = kmeans(values, generator)
    counts = torch.bincount(nearest(values, book), minlength=ENTRIES)
    return _assign(_rounded(codes, book, scale, counts), residual)


def _refit(plane: Plane, residual: Tensor, weights: Tensor, codebooks: bool) -> Plane:
    """Codebook, scales and codes, each given the others."""
    if codebooks:
        plane = _fit_codebook(plane, residual, weights)
    return _assign(_fit_scale(plane, residual, weights), residual)


def _fit_codebook(plane: Plane, residual: Tensor, weights: Tensor) -> Plane:
    """Each entry by least squares over all places that chose it, then rounded."""
    wanted = torch.zeros_like(plane.codebook)
    power = torch.zeros_like(plane.codebook)
    scale = _grouped(plane.scale[None], plane.k)[0]
    for rows in row_blocks(len(residual)):
        index = plane.codes[rows].long().flatten()
        weight = weights[rows, None, None]
        pull = weight * _grouped(residual[rows], plane.k) * scale
        wanted.index_add_(0, index, pull.reshape(-1, plane.k))
        mass = (weight * scale**2).expand_as(pull)
        power.index_add_(0, index, mass.reshape(-1, plane.k))
    book = torch.where(power > 0, wanted / power.clamp_min(1e-30), plane.codebook)
    return _rounded(plane.codes, book, plane.scale, power.sum(1))


def _fit_scale(plane: Plane, residual: Tensor, weights: Tensor) -> Plane:
    """Each column's scale by least squares."""
    wanted, power = torch.zeros_like(plane.scale), torch.zeros_like(plane.scale)
    unit = Plane(plane.codes, plane.codebook, torch.ones_like(plane.scale))
    for rows in row_blocks(len(residual)):
        values = unit.values(rows)
        wanted += weights[rows] @ (values * residual[rows])
        power += weights[rows] @ values**2
    scale = torch.where(power > 0, wanted / power.clamp_min(1e-30), plane.scale)
    return Plane(plane.codes, plane.codebook, scale)


def _assign(plane: Plane, residual: Tensor) -> Plane:
    """The entry of least squared error for each group of columns."""
    scale = _grouped(plane.scale[None], plane.k)[0]  # [groups, k]
    half = scale**2 @ (plane.codebook**2).T / 2  # [groups, 256]

    def assign(rows: slice) -> None:
        wanted = _grouped(residual[rows], plane.k) * scale  # [n, groups, k]
        for group, cost in enumerate(half):
            scores = torch.addmm(cost, wanted[:, group], plane.codebook.T, beta=-1)
            plane.codes[rows, group] = largest(scores).to(torch.uint8)

    for_row_blocks(residual, _BLOCK_ROWS, assign)
    return plane


def _rounded(codes: Tensor, book: Tensor, scale: Tensor, counts: Tensor) -> Plane:
    """The codebook as integers; the columns' scales take what that divides out."""
    whole, step = as_integers(book, counts, CODEBOOK_PEAK)
    return Plane(codes, whole, scale * step)


def _grouped(values: Tensor, k: int) -> Tensor:
    """float [n, d] -> float [n, groups, k], the last group filled up with zeros."""
    return torch.nn.functional.pad(values, (0, -values.shape[1] % k)).reshape(len(values), -1, k)
