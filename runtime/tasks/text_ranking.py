"""Queries with passages to the order in which the passages answer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session
from .batches import TextModel, need_output
from .text_classification import sigmoid
from .tokenize import Tokenizer
from .tokens import quoted


@dataclass(frozen=True)
class RankedPassage:
    """A passage, where it stood among those given, and how well it fits.

    ``score`` is 0 .. 1 of a cross-encoder, and the sum of MaxSim of a ColBERT model.
    """

    text: str
    place: int
    score: float


@dataclass(frozen=True, eq=False)
class TextRanking:
    """Passages by how well they answer a query: a cross-encoder reads each beside the query.

    Scores are the sigmoid of the model's number, which keeps its order.
    """

    model: TextModel

    def __call__(
        self,
        queries: Sequence[tuple[str, str | Sequence[str]]],
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> list[tuple[RankedPassage, ...]]:
        """For each (query, passages) its passages, best first; a single passage may be a string.

        Raises:
            InputError: a query without passages, something that is no text, or a bad batch size.
        """
        pairs: list[tuple[str, str]] = []
        owner: list[int] = []
        for number, each in enumerate(queries):
            found = query_pairs(each)
            pairs += found
            owner += [number] * len(found)
        numbers = np.zeros(len(pairs))
        for batch in self.model.batches(pairs, batch_size, progress):
            numbers[batch.index] = batch.output[:, 0]
        results = []
        for number in range(len(queries)):
            own = [i for i, each in enumerate(owner) if each == number]
            passages = [pairs[i][1] for i in own]
            results.append(best_first(passages, numbers[own], sigmoid(numbers[own])))
        return results


def text_ranking(session: Session, tokenizer: Tokenizer) -> TextRanking:
    """Join a session and a tokenizer.

    Raises:
        InputError: a graph that does not give one number a text.
    """
    output = need_output(session, ("logits",), rank=2, task="text-ranking")
    if isinstance(output.shape[-1], int) and output.shape[-1] != 1:
        raise InputError(
            f"{session.path} gives {output.shape[-1]} numbers a text, and text-ranking needs one; "
            "open it with task text-classification"
        )
    return TextRanking(TextModel(session, tokenizer, output))


def query_pairs(given: Any) -> list[tuple[str, str]]:
    """One query with each of its passages.

    Raises:
        InputError: ``given`` is no (query, passages), or holds something that is no text.
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InputError(f"{quoted(given)} is no query with passages; give (query, [passage, ...])")
    query, passages = given
    passages = [passages] if isinstance(passages, str) else list(passages or ())
    if not passages:
        raise InputError(f"the query {quoted(query)} has no passages; give one or more")
    for text in (query, *passages):
        if not isinstance(text, str):
            raise InputError(f"{quoted(text)} is no text; give strings")
    return [(query, passage) for passage in passages]


def best_first(passages: list[str], numbers: Any, scores: Any) -> tuple[RankedPassage, ...]:
    """In the order of ``numbers`` [n], the largest first, each with its score of ``scores`` [n]."""
    order = np.argsort(-numbers, kind="stable")
    return tuple(RankedPassage(passages[i], int(i), float(scores[i])) for i in order)
