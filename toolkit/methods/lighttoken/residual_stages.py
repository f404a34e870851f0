"""Stages without a decoder: a byte for a few columns of what is left, for some rows or for all.

Most are for the rows that matter most, a byte for eight columns. A stage needs a codebook, 256
vectors trained on the residual, and one scale a column. Residual stages whose bytes stand for the
same columns are searched together.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...table.embedding import CODEBOOK_PEAK
from ...table.matrix import row_blocks
from . import additive_codebooks
from .kmeans import ENTRIES, as_integers, kmeans, nearest
from .parallel import for_row_blocks, largest

_SWEEPS = 3
_STARTS = 8  # entries of a stack's first stage that are followed to the end
_LEAST_SCALE = 0.01  # of a column's spread over all rows alike
_BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class ResidualStage:
    """``codes`` uint8 [n, groups], ``codebook`` float [256, k] of integers, ``scale`` float [d].

    The entries of an ``additive`` codebook are sums of two of sixteen.
    """

    codes: Tensor
    codebook: Tensor
    scale: Tensor
    additive: bool = False

    @property
    def k(self) -> int:
        """Columns that a byte stands for."""
        return self.codebook.shape[1]

    def values(self, rows: slice) -> Tensor:
        """What the codes stand for, float [n, d]."""
        flat = self.codebook[self.codes[rows].long()].flatten(1)
        return flat[:, : len(self.scale)] * self.scale


def fit_stages(
    residual: Tensor,
    row_counts: Sequence[tuple[int, int]],
    weights: Tensor,
    generator: torch.Generator,
    *,
    additive: bool = False,
) -> tuple[ResidualStage, ...]:
    """One stage after another on what is left, then each again given the others.

    Args:
        residual: what there is to explain, float [n, d], at least the first stage's rows; the
            stages are taken away in place.
        row_counts: rows, and columns to a byte, of each stage.
        weights: importance of each row, float [n] or longer.
        generator: picks the samples that codebooks start from.
        split: make the entries of codebooks sums of two of sixteen.
    """
    stages: list[ResidualStage] = []
    for rows, k in row_counts:
        stages.append(_start(residual[:rows], weights[:rows], k, generator, additive))
        add_stages(residual, stages[-1:], -1.0)
    for _ in range(_SWEEPS):
        for stack in _stacks(row_counts):
            for index in range(stack.start, stack.stop):
                rows = len(stages[index].codes)
                add_stages(residual, stages[index : index + 1], 1.0)
                stages[index] = _refit(stages[index], residual[:rows], weights[:rows])
                add_stages(residual, stages[index : index + 1], -1.0)
            if stack.stop - stack.start > 1:
                add_stages(residual, stages[stack], 1.0)
                _search(stages[stack], residual)
                add_stages(residual, stages[stack], -1.0)
    return tuple(stages)


def _stacks(row_counts: Sequence[tuple[int, int]]) -> list[slice]:
    """Runs of stages whose bytes stand for the same columns."""
    stacks, start = [], 0
    for _, run in itertools.groupby(row_counts, key=lambda stage: stage[1]):
        stop = start + len(list(run))
        stacks.append(slice(start, stop))
        start = stop
    return stacks


def add_stages(
    target: Tensor, stages: tuple[ResidualStage, ...] | list[ResidualStage], factor: float
) -> None:
    """Add ``factor`` times what all stages contribute to ``target`` [V, d], in place."""
    for stage in stages:
        for rows in row_blocks(len(stage.codes)):
            target[rows].add_(stage.values(rows), alpha=factor)


def _start(
    residual: Tensor, weights: Tensor, k: int, generator: torch.Generator, additive: bool
) -> ResidualStage:
    groups = -(-residual.shape[1] // k)
    codes = torch.empty(len(residual), groups, dtype=torch.uint8, device=residual.device)
    power = torch.zeros_like(residual[0])
    for rows in row_blocks(len(residual)):
        power += weights[rows] @ residual[rows] ** 2
    total = weights.sum().clamp_min(1e-30)
    # Rows of no weight are coded too: a column that varies among them alone still needs a scale.
    plain = residual.pow(2).mean(dim=0).sqrt()
    scale = torch.maximum((power / total).sqrt(), _LEAST_SCALE * plain).clamp_min(1e-30)
    sample = torch.randperm(len(residual), generator=generator)[:4096].to(residual.device)
    values = _grouped(residual[sample] / scale, k).reshape(-1, k)
    book = kmeans(values, generator, additive=additive)
    counts = torch.bincount(nearest(values, book), minlength=ENTRIES)
    return _assigned(_rounded(codes, book, scale, counts, additive), residual)


def _refit(stage: ResidualStage, residual: Tensor, weights: Tensor) -> ResidualStage:
    """Codebook, scales and codes, each given the others."""
    stage = _fit_codebook(stage, residual, weights)
    return _assigned(_fit_scale(stage, residual, weights), residual)


def _fit_codebook(stage: ResidualStage, residual: Tensor, weights: Tensor) -> ResidualStage:
    """Each entry by least squares over all places that chose it, then rounded."""
    wanted = torch.zeros_like(stage.codebook)
    power = torch.zeros_like(stage.codebook)
    scale = _grouped(stage.scale[None], stage.k)[0]
    for rows in row_blocks(len(residual)):
        index = stage.codes[rows].long().flatten()
        weight = weights[rows, None, None]
        pull = weight * _grouped(residual[rows], stage.k) * scale
        wanted.index_add_(0, index, pull.reshape(-1, stage.k))
        mass = (weight * scale**2).expand_as(pull)
        power.index_add_(0, index, mass.reshape(-1, stage.k))
    if stage.additive:
        book = additive_codebooks.fit(wanted, power, stage.codebook)
    else:
        book = torch.where(power > 0, wanted / power.clamp_min(1e-30), stage.codebook)
    return _rounded(stage.codes, book, stage.scale, power.sum(1), stage.additive)


def _fit_scale(stage: ResidualStage, residual: Tensor, weights: Tensor) -> ResidualStage:
    """Each column's scale by least squares."""
    wanted, power = torch.zeros_like(stage.scale), torch.zeros_like(stage.scale)
    unit = ResidualStage(stage.codes, stage.codebook, torch.ones_like(stage.scale))
    for rows in row_blocks(len(residual)):
        values = unit.values(rows)
        wanted += weights[rows] @ (values * residual[rows])
        power += weights[rows] @ values**2
    scale = torch.where(power > 0, wanted / power.clamp_min(1e-30), stage.scale)
    return ResidualStage(stage.codes, stage.codebook, scale, stage.additive)


def _assigned(stage: ResidualStage, residual: Tensor) -> ResidualStage:
    """The entry of least squared error for each group of columns."""
    entries, half = _entries(stage)

    def assign(rows: slice) -> None:
        wanted = _grouped(residual[rows], stage.k)
        for group in range(stage.codes.shape[1]):
            stage.codes[rows, group] = _best(wanted[:, group], entries[group], half[group])

    for_row_blocks(residual, _BLOCK_ROWS, assign)
    return stage


def _search(stack: Sequence[ResidualStage], target: Tensor) -> None:
    """Choose the bytes of all stages of a stack together, for ``target`` float [n, d].

    Each of the likeliest entries of the first stage is followed by the best of every further stage
    given those before it; of these the one that leaves least is taken, if it leaves less than the
    bytes there are. (A beam search, as in Babenko & Lempitsky 2014, whose paths never meet.)
    """
    ends = [len(stage.codes) for stage in stack] + [0]
    tables = [_entries(stage) for stage in stack]
    for depth in range(len(stack), 0, -1):
        first, stages = ends[depth], stack[:depth]  # these rows have ``depth`` stages

        def choose(
            rows: slice, first: int = first, stages: Sequence[ResidualStage] = stages
        ) -> None:
            rows = slice(first + rows.start, first + rows.stop)
            wanted = _grouped(target[rows], stages[0].k)
            for group in range(wanted.shape[1]):
                steps = [(entries[group], half[group]) for entries, half in tables[: len(stages)]]
                old = torch.stack([stage.codes[rows, group] for stage in stages])
                for stage, new in zip(stages, _together(wanted[:, group], steps, old), strict=True):
                    stage.codes[rows, group] = new

        for_row_blocks(target[first : ends[depth - 1]], _BLOCK_ROWS, choose)


def _together(wanted: Tensor, steps: list[tuple[Tensor, Tensor]], old: Tensor) -> Tensor:
    """Bytes [stages, n] whose entries add up to ``wanted`` float [n, k]; ``old`` where better."""
    (entries, half), *further = steps
    if not further:
        return _best(wanted, entries, half)[None]
    starts = torch.addmm(half, wanted, entries.T, beta=-1).topk(_STARTS, dim=1, sorted=False)[1]
    paths = [starts.flatten()]
    left = wanted.repeat_interleave(_STARTS, dim=0) - entries[paths[0]]
    for entries, half in further:
        paths.append(_best(left, entries, half).long())
        left -= entries[paths[-1]]
    error, path = left.square().sum(1).reshape(-1, _STARTS).min(dim=1)
    path += torch.arange(len(wanted), device=path.device) * _STARTS
    new = torch.stack([codes[path] for codes in paths]).to(torch.uint8)
    now = sum((e[codes.long()] for (e, _), codes in zip(steps, old, strict=True)), -wanted)
    return torch.where(error < now.square().sum(1), new, old)


def _entries(stage: ResidualStage) -> tuple[Tensor, Tensor]:
    """What each byte adds in each group, float [groups, 256, k], and half its square."""
    entries = stage.codebook * _grouped(stage.scale[None], stage.k)[0][:, None]
    return entries, entries.square().sum(2) / 2


def _best(wanted: Tensor, entries: Tensor, half: Tensor) -> Tensor:
    """The entry next to each of ``wanted`` float [n, k], uint8 [n]."""
    return largest(torch.addmm(half, wanted, entries.T, beta=-1)).to(torch.uint8)


def _rounded(
    codes: Tensor, book: Tensor, scale: Tensor, counts: Tensor, additive: bool
) -> ResidualStage:
    """The codebook as integers; the columns' scales take what that divides out."""
    whole, step = as_integers(book, counts, CODEBOOK_PEAK, additive=additive)
    return ResidualStage(codes, whole, scale * step, additive)


def _grouped(values: Tensor, k: int) -> Tensor:
    """float [n, d] -> float [n, groups, k], the last group filled up with zeros."""
    return torch.nn.functional.pad(values, (0, -values.shape[1] % k)).reshape(len(values), -1, k)
