"""What tests ask of codebooks."""

import torch
from torch import Tensor

from toolkit.methods.lighttoken.additive_codebooks import expand, halve


def is_additive(book: Tensor) -> bool:
    """Whether a codebook [256, k] of integers is made of sums of two of sixteen."""
    return torch.equal(expand(halve(book)), book)
