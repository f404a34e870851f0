"""Token ids of plain text as the batches that a transformer reads."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

_POOL = 32  # batches' worth of texts that are sorted by length together


@dataclass(frozen=True, eq=False)
class Batch:
    """``ids`` and ``mask`` int64 [n, length]; texts are padded on the right."""

    ids: Tensor
    mask: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """As keywords of a transformer's forward."""
        return {"input_ids": self.ids, "attention_mask": self.mask}


def make_batches(
    texts: Sequence[Sequence[int]], size: int, pad_id: int, seed: int | None = None
) -> list[Batch]:
    """All texts' ids, texts of about one length together; ``seed`` shuffles, None keeps the order.

    Raises:
        InputError: no text, or an empty one.
    """
    if not texts or not all(texts):
        raise InputError(f"{len(texts)} texts, some of them without tokens; give plain text")
    order = list(range(len(texts)))
    shuffle = random.Random(seed).shuffle
    if seed is not None:
        shuffle(order)
    groups = []
    for start in range(0, len(order), size * _POOL):
        near = sorted(order[start : start + size * _POOL], key=lambda index: len(texts[index]))
        groups += [near[at : at + size] for at in range(0, len(near), size)]
    if seed is not None:
        shuffle(groups)
    return [_batch([texts[index] for index in group], pad_id) for group in groups]


def _batch(texts: list[Sequence[int]], pad_id: int) -> Batch:
    length = max(map(len, texts))
    ids = torch.full((len(texts), length), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
        mask[row, : len(text)] = 1
    return Batch(ids, mask)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device ("cpu", "cuda") computes in bfloat16 rather than imitating it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        # torch 2.7 has no public name for it
        return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return False


def fast_products(model: nn.Module) -> torch.autocast:
    """Products in bfloat16 where the model's device has them: two to three times as fast.

    For gradients, whose own noise is far larger. Elsewhere everything stays float32.
    """
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device))


def hidden_states(outputs: Any) -> Tensor:
    """The last hidden states float32 [n, length, d] of what a transformer gave.

    Raises:
        InputError: it gave none.
    """
    states = getattr(outputs, "hidden_states", None)
    if not states:
        raise InputError("the model gives no hidden states; healing needs a transformers model")
    last: Tensor = states[-1]
    return last.float()
