"""Matrices of few bits in PyTorch, trained as they will be stored."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..rounding import GroupedWeight

_REACH = 0.49  # beyond the first and last code a number is held: it rounds to that code


class RoundedLinear(nn.Module):
    """A linear layer whose matrix holds codes of a few bits and a scale a group.

    The codes train too. Each number has a position on the line of codes, which the forward pass
    rounds and the gradient passes by (straight-through: Bengio et al. 2013, section 4); so
    positions move until they round to another code. Scales train as in LSQ (Esser et al., ICLR
    2020), as factors of what they were.

    Parameters: ``positions`` float [n, groups, group size], in codes from the middle one;
    ``factors`` float [n, groups, 1], 1 at first.

    Args:
        linear: gives what the matrix was, float [n, k], and the bias.
        rounded: how it is stored at first, [n, k].
        memory: 0 begins at the codes; 1 where the original's numbers lie between them, as far as
            they still round to the same codes.
    """

    scales: Tensor

    def __init__(self, linear: nn.Linear, rounded: GroupedWeight, memory: float = 0.5) -> None:
        super().__init__()
        self.bits, self.group_size = rounded.bits, rounded.group_size
        self.columns = linear.in_features
        self.bias = linear.bias
        scales = torch.from_numpy(rounded.scales.copy())[:, :, None]
        self.register_buffer("scales", scales)
        codes = self._grouped(torch.from_numpy(rounded.codes.astype(np.float32))) - self._middle
        between = self._grouped(linear.weight.detach().float()) / scales - codes
        self.positions = nn.Parameter(codes + memory * between.clamp(-_REACH, _REACH))
        self.factors = nn.Parameter(torch.ones_like(scales))

    @property
    def _middle(self) -> int:
        return int(2 ** (self.bits - 1))

    def _grouped(self, matrix: Tensor) -> Tensor:
        """[n, k] -> [n, groups, group size], filled with zeros."""
        filling = -self.columns % self.group_size
        padded = functional.pad(matrix, (0, filling))
        return padded.reshape(len(matrix), -1, self.group_size)

    def _codes(self) -> Tensor:
        """Whole numbers from -2^(bits - 1) to 2^(bits - 1) - 1, with a gradient."""
        held = self.positions.clamp(-self._middle - _REACH, self._middle - 1 + _REACH)
        return held + (held.round() - held).detach()

    @property
    def weight(self) -> Tensor:
        """The matrix as it will be stored, float [n, k]."""
        return (self._codes() * (self.scales * self.factors)).flatten(1)[:, : self.columns]

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` [..., k] -> [..., n]."""
        return functional.linear(inputs, self.weight, self.bias)

    @torch.no_grad()
    def pack(self) -> GroupedWeight:
        """The matrix as it is now, in as many bytes as it came in."""
        codes = (self._codes() + self._middle).flatten(1)[:, : self.columns]
        scales = (self.scales * self.factors)[:, :, 0]
        return GroupedWeight(
            codes.numpy().astype(np.uint8), scales.numpy().copy(), self.bits, self.group_size
        )


def attach_rounded(
    model: nn.Module, rounded: Mapping[str, GroupedWeight]
) -> dict[str, RoundedLinear]:
    """Let the linear layers that ``rounded`` names compute with few bits; in place, by name."""
    layers = {}
    for name, weight in rounded.items():
        parent, _, key = name.rpartition(".")
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        layers[name] = RoundedLinear(linear, weight).train(linear.training)
        setattr(model.get_submodule(parent), key, layers[name])
    return layers
