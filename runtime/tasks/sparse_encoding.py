"""Texts to weighted terms of the vocabulary, as SPLADE makes them (Formal et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session
from .batches import TextModel, need_output
from .tokenize import Text, Tokenizer

Float32 = NDArray[np.float32]

SPLADE = "splade"
"""How the modes of :class:`Pooling` begin that are of this kind: ``splade-max``, ``splade-sum``."""

_TWICE = "log1p"  # splade-max-log1p takes the logarithm of the logarithm


@dataclass(frozen=True)
class Term:
    """A token of the vocabulary and what it weighs in a text, above 0."""

    token: str
    id: int
    weight: float


@dataclass(frozen=True, eq=False)
class SparseEncoding:
    """Terms for each text, most of them words that it does not hold but is about.

    A term weighs log(1 + relu(logit)), its largest over the text's tokens, or the sum of all.
    """

    model: TextModel
    pooling: Pooling

    def __call__(
        self,
        texts: Sequence[Text],
        top_k: int | None = None,
        batch_size: int = 4,
        progress: Progress | None = None,
    ) -> list[tuple[Term, ...]]:
        """For each text its terms, the heaviest first; all that weigh anything, or ``top_k``.

        Raises:
            InputError: a single string, ``top_k`` or ``batch_size`` below 1, or texts that the
                model cannot take.
        """
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}")
        text_of = self.model.tokenizer.backend.text_of
        results: list[tuple[Term, ...]] = [()] * len(texts)
        for batch in self.model.batches(texts, batch_size, progress):
            weights = sparse_vectors(batch.output, batch.mask, self.pooling)
            for row, index in zip(weights, batch.index, strict=True):
                order = np.argsort(-row, kind="stable")[: np.count_nonzero(row)][:top_k]
                results[index] = tuple(Term(text_of(int(i)), int(i), float(row[i])) for i in order)
        return results


def sparse_vectors(logits: Float32, mask: NDArray[np.int64], pooling: Pooling) -> Float32:
    """``logits`` float32 [n, length, V] over ``mask`` int64 [n, length] -> float32 [n, V]."""
    _, strategy, *more = pooling.mode.split("-")
    real = mask.astype(bool)[:, :, None]
    weights = np.log1p(np.maximum(np.where(real, logits, 0), 0))
    if _TWICE in more:
        weights = np.log1p(weights)
    vectors: Float32 = weights.max(axis=1) if strategy == "max" else weights.sum(axis=1)
    return vectors


def sparse_encoding(session: Session, tokenizer: Tokenizer, pooling: Pooling) -> SparseEncoding:
    """Join a session and a tokenizer.

    Raises:
        InputError: a graph without logits of each token.
    """
    output = need_output(session, ("logits",), rank=3, task="terms of a sparse encoder")
    return SparseEncoding(TextModel(session, tokenizer, output), pooling)
