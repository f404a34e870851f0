"""A ColBERT model in PyTorch: an encoder, and what projects its token vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.bundle.dense import Dense

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "Sigmoid": nn.Sigmoid,
    "SiLU": nn.SiLU,
}


class DenseLayer(nn.Module):
    """A :class:`toolkit.bundle.dense.Dense`, traced."""

    def __init__(self, dense: Dense) -> None:
        super().__init__()
        self.linear = _linear(dense.weight, dense.bias)
        self.activation = _ACTIVATIONS[dense.activation]()
        self.residual = None if dense.residual is None else _linear(dense.residual, None)

    def forward(self, vectors: Tensor) -> Tensor:
        """Float32 [..., in] -> [..., out]."""
        found: Tensor = self.activation(self.linear(vectors))
        return found if self.residual is None else found + self.residual(vectors)


class ProjectedModel(nn.Module):
    """An encoder whose token vectors are projected and brought to unit length."""

    def __init__(self, encoder: nn.Module, projection: Sequence[Dense]) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.Sequential(*map(DenseLayer, projection))

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Inputs as the encoder takes them -> float32 [batch, sequence, d]."""
        (states,) = self.encoder(*inputs)
        return (functional.normalize(self.layers(states), dim=-1),)


def _linear(weight: object, bias: object) -> nn.Linear:
    held = torch.as_tensor(weight)
    layer = nn.Linear(held.shape[1], held.shape[0], bias=bias is not None)
    layer.weight.data = held
    if bias is not None:
        layer.bias.data = torch.as_tensor(bias)
    return layer
