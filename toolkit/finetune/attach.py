"""Replace a model's dense table by a packed one, and back."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..table import embedding
from .module import CompressedEmbedding


class _Sharing(nn.Module):
    """Something else that reads a packed table, whose parameters are the embedding's alone.

    So they are saved once, trained once, and counted once.
    """

    def __init__(self, shared: CompressedEmbedding) -> None:
        super().__init__()
        self._shared = (shared,)  # in a tuple, PyTorch does not take it for a part of this module

    @property
    def shared(self) -> CompressedEmbedding:
        """The layer whose table this reads."""
        return self._shared[0]


class SharedEmbedding(_Sharing):
    """A second place that looks rows up, such as the decoder of an encoder-decoder."""

    def forward(self, ids: Tensor) -> Tensor:
        """``ids`` integer [...] -> float [..., d]."""
        return self.shared(ids)


class CompressedHead(_Sharing):
    """An output head that shares the packed table: ``hidden`` [..., d] -> logits float [..., V]."""

    def __init__(self, shared: CompressedEmbedding, bias: nn.Parameter | None) -> None:
        super().__init__(shared)
        self.bias = bias

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits of every token."""
        logits = self.shared.logits(hidden)
        return logits if self.bias is None else logits + self.bias


def attach(
    model: nn.Module, packed: embedding.CompressedEmbedding, name: str | None = None
) -> CompressedEmbedding:
    """Let ``model`` look its tokens up in ``packed``, and its tied heads read it too.

    Every ``nn.Embedding`` that holds the table is replaced, and every ``nn.Linear`` that shares its
    weight. The other parameters stay as they are, trainable or not.

    Args:
        model: any module; changed in place.
        packed: a table of the model's shape.
        name: which ``nn.Embedding`` to replace, as ``named_modules`` calls it; by default what
            ``get_input_embeddings`` gives, or the only one of the table's shape.

    Returns:
        The layer, whose ``pack()`` gives the table as it is after training.

    Raises:
        InputError: no such layer, several, one of another shape, or one that does more than look
            rows up.
    """
    old = find_table(model, packed, name)
    if (old.num_embeddings, old.embedding_dim) != (packed.rows, packed.width):
        raise InputError(
            f"the model's table is {old.num_embeddings} x {old.embedding_dim}, the packed one "
            f"{packed.rows} x {packed.width}; pack the table of this model"
        )
    weight = old.weight
    factor = row_factor(old)
    layer = CompressedEmbedding(packed, factor, dtype=weight.dtype).to(weight.device)
    placed = False
    for parent, key, child in list(_children(model)):
        if isinstance(child, nn.Embedding) and child.weight is weight:
            if row_factor(child) != factor:
                raise InputError(
                    f"two layers scale the rows of one table by {factor:g} and "
                    f"{row_factor(child):g}; attach cannot stand for both"
                )
            setattr(parent, key, SharedEmbedding(layer) if placed else layer)
            placed = True
        elif isinstance(child, nn.Linear) and child.weight is weight:
            setattr(parent, key, CompressedHead(layer, child.bias).train(child.training))
    layer.replaces = (_without_weight(old),)
    return layer.train(old.training)


def detach(model: nn.Module) -> nn.Module:
    """Put dense tables back, with the values that the packed ones stand for now; in place.

    Heads that shared a table share it again. A model without packed tables stays as it is.
    """
    restored = {
        child: _with_weight(child)
        for child in model.modules()
        if isinstance(child, CompressedEmbedding)
    }
    for parent, key, child in list(_children(model)):
        if isinstance(child, CompressedEmbedding):
            setattr(parent, key, restored[child])
        elif isinstance(child, SharedEmbedding):
            setattr(parent, key, restored[child.shared])
        elif isinstance(child, CompressedHead):
            weight = cast(nn.Parameter, restored[child.shared].weight)
            head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            head._parameters.update(weight=weight, bias=child.bias)
            setattr(parent, key, head.train(child.training))
    return model


def find_table(
    model: nn.Module, packed: embedding.CompressedEmbedding, name: str | None = None
) -> nn.Embedding:
    """The layer that :func:`attach` would replace, and as it says."""
    tables = {at: child for at, child in model.named_modules() if isinstance(child, nn.Embedding)}
    if name is not None:
        if name not in tables:
            raise InputError(
                f"the model has no nn.Embedding {name!r}; it has {', '.join(tables) or 'none'}"
            )
        return tables[name]
    own = getattr(model, "get_input_embeddings", None)
    if own is not None and isinstance(found := own(), nn.Embedding):
        return found
    fitting = {
        at: child
        for at, child in tables.items()
        if tuple(child.weight.shape) == (packed.rows, packed.width)
    }
    if len({id(child.weight) for child in fitting.values()}) != 1:
        raise InputError(
            f"{len(fitting) or 'no'} layers of the model look up a table of {packed.rows} x "
            f"{packed.width} ({', '.join(tables) or 'it has no nn.Embedding'}); name one"
        )
    return next(iter(fitting.values()))


def row_factor(layer: nn.Embedding) -> float:
    """What the layer multiplies its rows with; 1 for a plain one."""
    if layer.max_norm is not None:
        raise InputError(
            f"the model's table renormalises its rows (max_norm {layer.max_norm:g}), which packed "
            "ones cannot; normalise them once and set max_norm to None"
        )
    if type(layer).forward is nn.Embedding.forward:
        return 1.0
    factor = getattr(layer, "embed_scale", None)  # as transformers' scaled embeddings call it
    if factor is None:
        raise InputError(
            f"the model's table is a {type(layer).__name__}, which does more than look rows up; "
            "attach knows nn.Embedding and transformers' scaled embeddings"
        )
    return float(factor)


def _without_weight(layer: nn.Embedding) -> nn.Embedding:
    """A copy to make the layer of again, without its table in memory."""
    bare = copy.copy(layer)
    bare._parameters = {"weight": nn.Parameter(torch.empty(0), layer.weight.requires_grad)}
    return bare


def _with_weight(packed: CompressedEmbedding) -> nn.Embedding:
    (bare,) = packed.replaces
    layer = copy.copy(bare)
    values = packed.dense().to(packed.dtype)
    layer._parameters = {"weight": nn.Parameter(values, bare.weight.requires_grad)}
    return layer.train(packed.training)


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Every (parent, name, child); a child that several parents hold comes several times."""
    for parent in model.modules():
        for key, child in parent._modules.items():  # named_children leaves out a second name
            if child is not None:
                yield parent, key, child
