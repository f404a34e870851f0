"""A decoder whose graph takes the keys and values of the tokens before, and gives those of all.

Names and shapes are optimum's, which transformers.js and onnxruntime-genai read too:
``past_key_values.0.key`` float [batch, heads, past, d], ``present.0.key`` with the new tokens'
behind them, and so on for each layer.
"""

from typing import Any

import onnx_ir as ir
import torch
import transformers
from torch import Tensor, nn

from toolkit.errors import InputError

_PAST = 3  # tokens in the example that is traced: no size that it has otherwise
BATCH, SEQUENCE, PAST = "batch_size", "sequence_length", "past_sequence_length"
TOTAL = f"{PAST} + {SEQUENCE}"


class CachedModel(nn.Module):
    """The decoder with positional inputs and outputs: ``names``, then keys and values by layer."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs int64, then float [batch, heads, past, d]; logits, then the longer cache."""
        named = dict(zip(self.names, inputs, strict=False))
        past = inputs[len(self.names) :]
        # Without the model's config every layer keeps all tokens: those of a sliding window are
        # cut by the mask, and a cache of one length is what runtimes hand in.
        cache = transformers.DynamicCache()
        for layer, (key, value) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(key, value, layer)
        found = self.model(**named, past_key_values=cache, use_cache=True, return_dict=True)
        return found.logits, *_tensors(found.past_key_values)


def example_cache(model: Any, batch: int) -> list[Tensor]:
    """Keys and values of :data:`_PAST` tokens, layer by layer.

    Raises:
        InputError: a model that keeps something else, or nothing.
    """
    ids = torch.zeros(batch, _PAST, dtype=torch.int64)
    with torch.no_grad():
        found = model(input_ids=ids, use_cache=True, return_dict=True)
    tensors = _tensors(getattr(found, "past_key_values", None))
    if not tensors or any(t is None or t.ndim != 4 or t.shape[2] != _PAST for t in tensors):
        kind = type(model).__name__
        raise InputError(f"a {kind} keeps no keys and values of each token; drop --with-past")
    return tensors


def cache_names(tensors: int, prefix: str) -> list[str]:
    """``PREFIX.0.key``, ``PREFIX.0.value``, ``PREFIX.1.key`` … for so many tensors."""
    return [f"{prefix}.{index // 2}.{('key', 'value')[index % 2]}" for index in range(tensors)]


def example_length(length: int) -> int:
    """Tokens that a mask covers where ``length`` new ones follow the example's cache."""
    return _PAST + length


def name_dimensions(graph: ir.Graph) -> None:
    """Free dimensions by what they are, in optimum's words."""
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is None or value.name is None:
            continue
        if value.name == "attention_mask":
            free: list[str | None] = [BATCH, TOTAL]
        elif value.name.startswith("past_key_values"):
            free = [BATCH, None, PAST, None]
        elif value.name.startswith("present"):
            free = [BATCH, None, TOTAL, None]
        else:
            free = [BATCH, SEQUENCE, None]
        value.shape = ir.Shape([name or dim for dim, name in zip(value.shape, free, strict=False)])


def _tensors(cache: Any) -> list[Any]:
    """Keys and values of a cache of transformers, layer by layer; none of another kind of state."""
    layers = getattr(cache, "layers", None) or []
    return [
        tensor
        for layer in layers
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
    ]
