"""Masked texts to the tokens that fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Array, Session
from .batches import TextModel, need_output
from .text_classification import softmax
from .tokenize import Text, Tokenizer
from .tokens import quoted


@dataclass(frozen=True)
class Candidate:
    """A token that may stand at a mask. ``score`` is its probability."""

    token: str
    id: int
    score: float


@dataclass(frozen=True)
class MaskFill:
    """What fits at one mask: ``position`` in the text's tokens, best candidate first."""

    position: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, eq=False)
class FillMask:
    """The likeliest tokens for each mask of a text."""

    model: TextModel
    mask_token: str
    mask_id: int

    def __call__(
        self,
        texts: Sequence[Text],
        top_k: int = 5,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> list[tuple[MaskFill, ...]]:
        """For each text, one :class:`MaskFill` a mask, in the order of the masks.

        Raises:
            InputError: a text without a mask, or whose mask was cut off; ``top_k`` below 1.
        """
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}")
        masks = [self._count(text) for text in texts]
        results: list[tuple[MaskFill, ...]] = [()] * len(texts)
        for batch in self.model.batches(texts, batch_size, progress):
            for row, index in enumerate(batch.index):
                positions = np.flatnonzero((batch.ids[row] == self.mask_id) & (batch.mask[row] > 0))
                if len(positions) < masks[index]:
                    raise InputError(
                        f"a mask of text {quoted(texts[index])} lies beyond the "
                        f"{int(batch.mask[row].sum())} tokens that the model reads; shorten it"
                    )
                results[index] = tuple(
                    MaskFill(int(at), self._best(batch.output[row, at], top_k)) for at in positions
                )
        return results

    def _count(self, text: Text) -> int:
        count = text.count(self.mask_token) if isinstance(text, str) else sum(map(self._in, text))
        if count == 0:
            raise InputError(
                f"text {quoted(text)} has no mask; put {self.mask_token} where a word is wanted"
            )
        return count

    def _in(self, part: str) -> int:
        return part.count(self.mask_token)

    def _best(self, logits: Array, top_k: int) -> tuple[Candidate, ...]:
        shares = softmax(logits)
        best = np.argsort(-shares, kind="stable")[:top_k]
        text_of = self.model.tokenizer.backend.text_of
        return tuple(Candidate(text_of(int(i)), int(i), float(shares[i])) for i in best)


def fill_mask(session: Session, tokenizer: Tokenizer) -> FillMask:
    """Join a session and a tokenizer.

    Raises:
        InputError: a tokenizer without a mask token, or a graph without logits.
    """
    if tokenizer.mask_token is None or tokenizer.mask_id is None:
        raise InputError(
            "the tokenizer has no mask token; add special_tokens_map.json to its files"
        )
    output = need_output(session, ("logits",), rank=3, task="fill-mask")
    return FillMask(TextModel(session, tokenizer, output), tokenizer.mask_token, tokenizer.mask_id)
