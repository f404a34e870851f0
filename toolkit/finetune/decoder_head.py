"""The output head of a causal model, as a function of some of its tokens alone."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .attach import CompressedHead

_SAMPLE = 8  # tokens that the head is tried on
_TOLERANCE = 1e-3  # of the largest logit


def body_of(model: Any) -> Any:
    """A causal model without its output head: gives ``last_hidden_state``.

    Raises:
        InputError: transformers does not say where it is.
    """
    for name in ("get_decoder", "base_model"):
        found = getattr(model, name, None)
        body = found() if callable(found) and not isinstance(found, nn.Module) else found
        if body is not None and body is not model:
            return body
    raise InputError(
        f"a {type(model).__name__} does not say what is below its output head, so it cannot be "
        "healed; leave that out"
    )


class Head:
    """What a causal model of transformers makes of its last hidden states.

    Logits are products with the head's rows, plus a bias; some models scale them or hold them
    between bounds. Which of these it is, is found by trying.

    Args:
        model: gives ``logits``.
        sample: token ids int64 [1, n] to try it on.

    Raises:
        InputError: a head that does something else.
    """

    def __init__(self, model: Any, sample: Tensor) -> None:
        self._model = model
        ids = sample[:, :_SAMPLE]
        with torch.no_grad():
            states = body_of(model)(input_ids=ids, use_cache=False).last_hidden_state
            products = self._head(states)
            wanted = model(input_ids=ids, use_cache=False).logits
        self._shape = _shape(products.float(), wanted.float(), model.config)

    @property
    def _head(self) -> nn.Module:
        head: nn.Module = self._model.get_output_embeddings()
        return head

    @property
    def weight(self) -> Tensor:
        """The rows, float [V, d]."""
        weight = self._head.weight
        assert isinstance(weight, Tensor)
        return weight

    def of(self, model: Any) -> "Head":
        """The same function of another model's head, dense or packed."""
        other = copy.copy(self)
        other._model = model
        return other

    def logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """``hidden`` float [n, d] -> logits float32 [n, len(ids)] of the tokens ``ids`` int64."""
        products = (hidden @ self._rows(ids).T).float()
        if (bias := getattr(self._head, "bias", None)) is not None:
            products = products + bias[ids]
        return self._shape(products)

    def _rows(self, ids: Tensor) -> Tensor:
        head = self._head
        return head.shared.rows(ids) if isinstance(head, CompressedHead) else self.weight[ids]


def _shape(products: Tensor, logits: Tensor, config: Any) -> Callable[[Tensor], Tensor]:
    """The function of ``products`` that gives ``logits``."""
    cap = getattr(config, "final_logit_softcapping", None)
    factor = float((products * logits).sum() / products.square().sum().clamp_min(1e-30))
    tried: list[Callable[[Tensor], Tensor]] = [lambda x: x, lambda x: x * factor]
    if cap:
        tried.append(lambda x: torch.tanh(x / cap) * cap)
    for shape in tried:
        if float((shape(products) - logits).abs().max()) <= _TOLERANCE * float(logits.abs().max()):
            return shape
    raise InputError(
        "the model does more with its output head than multiply, scale and cap; its table cannot "
        "be healed, leave that out"
    )
