"""Queries with passages to the order in which the passages answer them, token by token: ColBERT's
late interaction (Khattab and Zaharia 2020), read as PyLate reads texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.dense import Dense
from toolkit.bundle.late_interaction import (
    TOKEN_VECTORS,
    TextSettings,
    read_text_settings,
)
from toolkit.bundle.projection import needed_projection
from toolkit.errors import InputError
from toolkit.progress import Progress, part

from ..session import Session
from .batches import TextModel, length_limit, need_output, run_rows
from .text_ranking import RankedPassage, best_first, query_pairs
from .tokenize import Tokenizer, special_token
from .tokens import Tokens, quoted

Float32 = NDArray[np.float32]

_OUTPUTS = (TOKEN_VECTORS, "output", "last_hidden_state")  # the second is PyLate's own exporter's
_TINY = 1e-12  # shortest length that is divided by


@dataclass(frozen=True)
class SpecialIds:
    """Ids of tokens that texts do not hold.

    Attributes:
        query: the marker of queries; None for none.
        document: the same of documents.
        expansion: what queries are filled up with.
        skipped: tokens of documents whose vectors do not count.
    """

    query: int | None
    document: int | None
    expansion: int
    skipped: frozenset[int]


@dataclass(frozen=True, eq=False)
class LateInteraction:
    """A vector for each token, and passages by how well they answer a query.

    A passage's score is MaxSim: the sum, over the query's vectors, of the largest cosine with one
    of the passage's. A query of n vectors gives n at most.
    """

    model: TextModel
    settings: TextSettings
    ids: SpecialIds
    projection: tuple[Dense, ...] = ()

    def encode_queries(
        self, texts: Sequence[str], batch_size: int = 32, progress: Progress | None = None
    ) -> list[Float32]:
        """``texts`` [n] -> n times float32 [tokens, d], each row of unit length.

        Where the model expands queries each has as many tokens as the settings' query_length.

        Raises:
            InputError: a single string, a bad batch size, or texts that the model cannot take.
        """
        settings = self.settings
        length = self._length(settings.query_length)
        rows = self._rows(texts, length, self.ids.query)
        tokenizer, filled = self.model.tokenizer, None
        if settings.do_query_expansion:
            tokenizer, filled = replace(tokenizer, pad_id=self.ids.expansion), length
        if settings.attend_to_expansion_tokens and filled is not None:
            rows = [_filled(row, self.ids.expansion, length) for row in rows]
        kept = [np.arange(filled or len(row)) for row in rows]
        return self._vectors(rows, kept, tokenizer, batch_size, progress, filled)

    def encode_documents(
        self, texts: Sequence[str], batch_size: int = 32, progress: Progress | None = None
    ) -> list[Float32]:
        """``texts`` [n] -> n times float32 [tokens, d], each row of unit length.

        Tokens of the settings' skiplist, by default punctuation, have no vector.

        Raises:
            InputError: as :meth:`encode_queries`.
        """
        rows = self._rows(texts, self._length(self.settings.document_length), self.ids.document)
        kept = [
            np.array([i for i, token in enumerate(row.ids) if token not in self.ids.skipped], int)
            for row in rows
        ]
        return self._vectors(rows, kept, self.model.tokenizer, batch_size, progress)

    def __call__(
        self,
        queries: Sequence[tuple[str, str | Sequence[str]]],
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> list[tuple[RankedPassage, ...]]:
        """For each (query, passages) its passages, best first; a single passage may be a string.

        Raises:
            InputError: a query without passages, something that is no text, or a bad batch size.
        """
        given = [query_pairs(each) for each in queries]
        texts = [passage for pairs in given for _, passage in pairs]
        names = [pairs[0][0] for pairs in given]
        asked = self.encode_queries(names, batch_size, part(progress, 0.0, 0.2))
        found = iter(self.encode_documents(texts, batch_size, part(progress, 0.2, 1.0)))
        results = []
        for pairs, query in zip(given, asked, strict=True):
            scores = np.array([max_sim(query, next(found)) for _ in pairs])
            results.append(best_first([passage for _, passage in pairs], scores, scores))
        return results

    def _length(self, wanted: int) -> int:
        """Tokens that a text may have, its marker included."""
        limit = length_limit(self.model.session, self.model.tokenizer)
        return wanted if limit is None else min(wanted, limit)

    def _rows(self, texts: Sequence[str], length: int, marker: int | None) -> list[Tokens]:
        """Tokens of each text with the marker behind the first."""
        if isinstance(texts, str):
            raise InputError("texts is a single string; give a list of strings")
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"{quoted(text)} is no text; give strings")
        room = length if marker is None else length - 1
        if room < 1:
            raise InputError(f"max_length {length} has no room for a text; give at least 2")
        prompt = self.settings.prompt
        tokenizer = replace(self.model.tokenizer, max_length=room)
        rows = tokenizer.split([prompt + text for text in texts])
        return rows if marker is None else [_marked(row, marker) for row in rows]

    def _vectors(
        self,
        rows: list[Tokens],
        kept: list[NDArray[np.int64]],
        tokenizer: Tokenizer,
        batch_size: int,
        progress: Progress | None,
        length: int | None = None,
    ) -> list[Float32]:
        """Of each row's tokens at the places ``kept``."""
        model = self.model
        results: list[Float32] = [np.empty((0, 0), np.float32)] * len(rows)
        names = [model.output.name]
        for batch in run_rows(model.session, tokenizer, rows, names, batch_size, progress, length):
            for states, index in zip(batch.output, batch.index, strict=True):
                vectors = states[kept[index]].astype(np.float32)
                for layer in self.projection:
                    vectors = layer(vectors)
                lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
                results[index] = vectors / np.maximum(lengths, _TINY)
        return results


def max_sim(query: Float32, document: Float32) -> float:
    """``query`` [n, d] and ``document`` [m, d] of unit length -> the sum over n of the largest
    cosine; 0 where the document has no vector."""
    if not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).sum())


def late_interaction(session: Session, tokenizer: Tokenizer, folder: Path) -> LateInteraction:
    """Join a session, a tokenizer and the settings in ``folder``.

    Raises:
        InputError: a graph without token vectors, a tokenizer without the markers, or a projection
            that is neither in the graph nor in the folder.
        FormatError: damaged settings.
    """
    settings = read_text_settings(folder)
    output = need_output(session, _OUTPUTS, rank=3, task="late interaction")
    width = output.shape[-1] if output.shape else None
    projection = needed_projection(folder, output.name, width if isinstance(width, int) else None)
    ids = special_ids(settings, tokenizer, folder)
    return LateInteraction(TextModel(session, tokenizer, output), settings, ids, projection)


def special_ids(settings: TextSettings, tokenizer: Tokenizer, folder: Path) -> SpecialIds:
    """Which ids the settings' tokens have.

    A word of the skiplist that is no token stands for the unknown one, as PyLate has it.

    Raises:
        InputError: the tokenizer does not know a marker, or nothing to fill queries up with.
    """
    token_id = tokenizer.backend.token_id

    def marker(told: int | None, prefix: str, name: str) -> int | None:
        found = told if told is not None or not prefix else token_id(prefix)
        if found is None and prefix:
            raise InputError(
                f"the tokenizer of {folder} has no token {prefix!r}, the {name} of its settings; "
                "save the model with PyLate, which adds it"
            )
        return found

    def special(role: str) -> int | None:
        token = special_token(folder, role)
        return None if token is None else token_id(token)

    # PyLate's order: decoders know no mask.
    filling = (settings.mask_token_id, tokenizer.mask_id, special("eos_token"))
    expansion = next((each for each in filling if each is not None), tokenizer.pad_id)
    found = {token_id(word) for word in settings.skiplist_words}
    skipped = {special("unk_token") if each is None else each for each in found}
    return SpecialIds(
        marker(settings.query_prefix_id, settings.query_prefix, "query_prefix"),
        marker(settings.document_prefix_id, settings.document_prefix, "document_prefix"),
        expansion,
        frozenset(each for each in skipped if each is not None),
    )


def _marked(row: Tokens, marker: int) -> Tokens:
    """With ``marker`` behind the first token."""
    return Tokens((*row.ids[:1], marker, *row.ids[1:]), (*row.types[:1], 0, *row.types[1:]))


def _filled(row: Tokens, token: int, length: int) -> Tokens:
    """With ``token`` up to ``length``, as the text's own."""
    more = (length - len(row)) * (token,)
    return Tokens((*row.ids, *more), (*row.types, *(0 for _ in more)))
