"""A PyTorch model's matrices in few bits, rounded as ``--weights int4`` rounds those of a graph."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.finetune.decoder_head import body_of
from toolkit.progress import Progress
from toolkit.rounding import GroupedWeight, round_by_outputs

_AT_ONCE = 2**27  # numbers of second moments held at once, 1 GiB
_TEXTS = 8  # read at once


def round_linears(
    model: Any, texts: Tensor, *, bits: int, group_size: int, progress: Progress | None = None
) -> dict[str, GroupedWeight]:
    """Every linear layer of a decoder but its output head, by name.

    Args:
        model: a causal model of transformers.
        texts: token ids int64 [n, length]; what they feed a layer with says how to round it.
        bits: of a number.
        group_size: numbers that share a scale.
        progress: told how far the work is.
    """
    head = model.get_output_embeddings()
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and layer is not head
    }
    rounded: dict[str, GroupedWeight] = {}
    for some in _parts(layers):
        for name, moments in _second_moments(body_of(model), some, texts).items():
            weight = some[name].weight.detach().float().numpy()
            rounded[name] = round_by_outputs(
                weight, moments.numpy(), bits=bits, group_size=group_size
            )
            if progress is not None:
                progress(len(rounded) / len(layers), "rounding the weights")
    return rounded


def _parts(layers: dict[str, nn.Linear]) -> Iterator[dict[str, nn.Linear]]:
    part: dict[str, nn.Linear] = {}
    for name, layer in layers.items():
        size = layer.in_features**2
        if part and sum(one.in_features**2 for one in part.values()) + size > _AT_ONCE:
            yield part
            part = {}
        part[name] = layer
    if part:
        yield part


@torch.no_grad()
def _second_moments(
    body: nn.Module, layers: dict[str, nn.Linear], texts: Tensor
) -> dict[str, Tensor]:
    """Sums of x x^T, float64 [k, k], over what each layer is fed with."""
    moments = {
        name: torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)
        for name, layer in layers.items()
    }

    def watch(name: str) -> Any:
        def add(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].flatten(0, -2).float()
            moments[name] += rows.T @ rows

        return add

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        for batch in torch.split(texts, _TEXTS):
            body(input_ids=batch, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return moments
