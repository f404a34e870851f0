"""Codebooks of 256 entries: what one byte can stand for, and how integers hold it."""

import torch
from torch import Tensor

from . import additive_codebooks
from .parallel import for_row_blocks, largest

ENTRIES = 256
_SAMPLE = 32_768
_ROUNDS = 12
_SPLIT_ROUNDS = 40  # entries that are sums settle later
_SPLIT_START = 0.4  # of a vector, what the lower halves start from
_STEPS = tuple(0.85**power for power in range(16))  # of the largest, tried for integers
_BLOCK = 4096  # vectors compared at a time


def kmeans(
    values: Tensor, generator: torch.Generator, rounds: int | None = None, *, additive: bool = False
) -> Tensor:
    """256 centres float [256, k] of ``values`` float [n, k], by Lloyd's algorithm on a sample.

    Centres that win no vector stay where they are: with fewer distinct vectors than centres they
    are copies, which costs nothing. ``additive`` ones are sums of two of sixteen
    (:mod:`.additive_codebooks`), exact for sixteen vectors.
    """
    chosen = torch.randperm(len(values), generator=generator)[: max(_SAMPLE, ENTRIES)]
    sample = values[chosen.to(values.device)]
    first = torch.arange(2 * additive_codebooks.HALF if additive else ENTRIES, device=values.device)
    centres = sample[first % len(sample)].clone()
    if additive:
        centres[additive_codebooks.HALF :] *= _SPLIT_START
        centres[additive_codebooks.HALF] = 0.0  # sixteen vectors are entries as they are
        centres = additive_codebooks.expand(centres)
    if rounds is None:
        rounds = _SPLIT_ROUNDS if additive else _ROUNDS
    for _ in range(rounds):
        centres = recentre(sample, nearest(sample, centres), centres, additive=additive)
    return centres


def nearest(values: Tensor, centres: Tensor) -> Tensor:
    """The centre of least squared distance for each of ``values`` [n, k], uint8 [n]."""
    half = centres.pow(2).sum(1) / 2
    found = torch.empty(len(values), dtype=torch.uint8, device=values.device)

    def find(rows: slice) -> None:
        found[rows] = largest(torch.addmm(half, values[rows], centres.T, beta=-1)).to(torch.uint8)

    for_row_blocks(values, _BLOCK, find)
    return found


def recentre(values: Tensor, chosen: Tensor, centres: Tensor, *, additive: bool = False) -> Tensor:
    """The mean of each centre's vectors; a centre without any stays."""
    index = chosen.long()
    total = torch.zeros_like(centres).index_add_(0, index, values)
    count = torch.bincount(index, minlength=ENTRIES).to(values)[:, None]
    if additive:
        return additive_codebooks.fit(total, count, centres)
    return torch.where(count > 0, total / count.clamp_min(1), centres)


def as_integers(
    centres: Tensor, counts: Tensor, peak: int, *, additive: bool = False
) -> tuple[Tensor, Tensor]:
    """``centres`` float [256, k] as integers of at most ``peak``, and the step between two.

    The step is the one of least squared error over what the entries are chosen for (``counts``
    [256]): a few entries far out are cut rather than let all the others go coarse.
    """
    largest_step = centres.abs().amax().clamp_min(1e-30) / peak
    weight = counts.to(centres)[:, None] + 1e-3
    steps = [largest_step * share for share in _STEPS]
    rounded = [
        additive_codebooks.as_integers(centres, step, peak)
        if additive
        else torch.round(centres / step).clamp(-peak, peak)
        for step in steps
    ]
    errors = [
        float((weight * (whole * step - centres) ** 2).sum())
        for whole, step in zip(rounded, steps, strict=True)
    ]
    best = errors.index(min(errors))
    return rounded[best], steps[best]
