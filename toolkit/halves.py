"""Codebooks whose entries are sums: entry 16 h + l is upper[h] + lower[l].

The upper and the lower half of a byte then name one of sixteen vectors each, as in an additive
quantiser of two codebooks (Babenko & Lempitsky 2014), whose vectors span all k values where those of
a product quantiser would share them out. An output head looks both halves up in registers of
sixteen entries, in place of one table of 256. Of unit Gaussians 6 to 8% more error is left at equal
bytes.
"""

import torch
from torch import Tensor

HALF = 16
_RIDGE = 1e-6  # of the mean diagonal: the two halves may move against one another


def expand(halves: Tensor) -> Tensor:
    """float [32, k], upper then lower, to the codebook [256, k]."""
    return (halves[:HALF, None] + halves[None, HALF:]).flatten(0, 1)


def halve(book: Tensor) -> Tensor:
    """Halves [32, k] of a codebook [256, k] of such sums."""
    return torch.cat([book[::HALF], book[:HALF] - book[:1]])


def collapse(gradient: Tensor) -> Tensor:
    """What a gradient [256, k] of the entries is for their halves [32, k]: the adjoint of expand."""
    square = gradient.reshape(HALF, HALF, -1)
    return torch.cat([square.sum(1), square.sum(0)])


def is_split(book: Tensor) -> bool:
    """Whether a codebook [256, k] of integers is made of such sums."""
    return torch.equal(expand(halve(book)), book)


def fit(wanted: Tensor, power: Tensor, old: Tensor) -> Tensor:
    """The codebook of such sums that is nearest to ``wanted / power``, entries weighed by ``power``.

    Args:
        wanted: weighted sums of what each entry should be, float [256, k].
        power: sums of the weights, float [256, k], or [256, 1] where they are the same for all k.
        old: the codebook [256, k] that halves no one chose are taken from.
    """
    square = power.reshape(HALF, HALF, -1)
    sums = collapse(wanted) - collapse(power * old)  # of what is to change
    gram = torch.zeros(square.shape[2], 2 * HALF, 2 * HALF).to(power)
    gram[:, :HALF, HALF:] = square.permute(2, 0, 1)
    gram[:, HALF:, :HALF] = square.permute(2, 1, 0)
    gram.diagonal(dim1=1, dim2=2).copy_(collapse(power).T)
    mean = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    gram.diagonal(dim1=1, dim2=2).add_(_RIDGE * mean[:, None])
    change = torch.linalg.solve(gram, sums.T[:, :, None] if len(gram) > 1 else sums[None])
    change = change[:, :, 0].T if len(gram) > 1 else change[0]
    return old + expand(change)


def as_integers(book: Tensor, step: Tensor, peak: int) -> Tensor:
    """``book / step`` as sums of integers, none beyond ``peak``; still floats."""
    halves = halve(book) / step
    upper, lower = halves[:HALF], halves[HALF:]
    middle = (lower.amax(0) + lower.amin(0)) / 2
    lower = torch.round(lower - middle).clamp(-(peak // 2), peak // 2)
    room = peak - lower.abs().amax(0)
    upper = torch.round(upper + middle)
    return expand(torch.cat([torch.maximum(torch.minimum(upper, room), -room), lower]))
