"""Text that a decoder writes itself: its table is measured and healed on it, without any other."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..progress import Progress
from .batches import has_bfloat16

_BLOCK = 256  # tokens of a large vocabulary that are drawn from together
LOGITS = 1 << 27
"""Numbers of logits that are held at a time."""


@dataclass(frozen=True)
class TextConfig:
    """How much a decoder writes.

    Attributes:
        texts: written side by side.
        length: tokens of each, the first one included.
        seed: of the draws.
        openings: short texts, each begun with another token of the vocabulary.
        opening: tokens of each, the first one included.
    """

    texts: int = 48
    length: int = 192
    seed: int = 0
    openings: int = 1536
    opening: int = 7


def writer(model: Any) -> Any:
    """``model``, or a copy in bfloat16 where that is fast: what is drawn has noise of its own."""
    if not has_bfloat16(next(model.parameters()).device.type):
        return model
    return copy.deepcopy(model).to(torch.bfloat16)


def own_text(
    model: Any,
    start: int,
    config: TextConfig,
    *,
    forbidden: Sequence[int] = (),
    progress: Progress | None = None,
) -> Tensor:
    """Texts that a causal model of transformers draws from itself, int64 [texts, length].

    At temperature 1 and from all tokens, because that is the distribution the figures are of.

    Args:
        model: gives ``logits`` and ``past_key_values``.
        start: the first token of every text.
        config: how much.
        forbidden: tokens that are never drawn, such as the end of a text.
        progress: told how far the work is.
    """
    generator = torch.Generator().manual_seed(config.seed)
    texts = torch.full((config.texts, 1), start)
    return _continued(model, texts, config.length, generator, forbidden, progress)


def own_openings(
    model: Any, start: int, config: TextConfig, *, forbidden: Sequence[int] = ()
) -> Tensor:
    """Openings of texts in whatever the vocabulary has tokens for, int64 [openings, opening].

    A model that starts from nothing writes English and little else. Begun with a token that is
    drawn from the whole vocabulary, all alike, a text goes on in the language of that token.

    Args:
        model: gives ``logits`` and ``past_key_values``.
        start: the first token of every text, before the one that is drawn.
        config: how much; a vocabulary of fewer tokens has fewer openings.
        forbidden: tokens that are never drawn, such as the end of a text.
    """
    generator = torch.Generator().manual_seed(config.seed)
    rows = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randperm(rows, generator=generator)
    drawn = drawn[~torch.isin(drawn, torch.tensor([start, *forbidden]))][: config.openings]
    begun = torch.stack([torch.full_like(drawn, start), drawn], dim=1)
    blocks = torch.split(begun, max(1, LOGITS // (2 * rows)))
    length = config.opening
    return torch.cat(
        [_continued(model, block, length, generator, forbidden, None) for block in blocks]
    )


def _continued(
    model: Any,
    texts: Tensor,
    length: int,
    generator: torch.Generator,
    forbidden: Sequence[int],
    progress: Progress | None,
) -> Tensor:
    """``texts`` int64 [n, begun] with as many drawn tokens as ``length`` leaves."""
    past, latest = None, texts
    with torch.no_grad():
        for count in range(texts.shape[1], length):
            found = model(input_ids=latest, past_key_values=past, use_cache=True)
            past = found.past_key_values
            logits = found.logits[:, -1].float()
            if forbidden:
                logits[:, list(forbidden)] = -torch.inf
            latest = _draw(logits.softmax(-1), generator)
            texts = torch.cat([texts, latest], dim=1)
            if progress is not None:
                progress(count / (length - 1), "the decoder writes text to be measured on")
    return texts


def _draw(shares: Tensor, generator: torch.Generator) -> Tensor:
    """A token a row, int64 [n, 1], from probabilities float [n, V].

    torch.multinomial takes a random number for every token. So a block of a large vocabulary is
    drawn first, and then a token of the block.
    """
    rows = shares.shape[1]
    if rows <= _BLOCK**2:
        return torch.multinomial(shares, 1, generator=generator)
    padded = nn.functional.pad(shares, (0, -rows % _BLOCK))
    blocks = padded.reshape(len(shares), -1, _BLOCK)
    block = torch.multinomial(blocks.sum(-1), 1, generator=generator)
    inside = torch.take_along_dim(blocks, block[:, :, None], dim=1)[:, 0]
    return block * _BLOCK + torch.multinomial(inside, 1, generator=generator)
