"""Texts to the words in them that have a label, such as names of persons and places."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session
from .batches import TextModel, length_limit, need_output, run_rows
from .text_classification import Float64, read_labels, softmax
from .tokenize import Tokenizer, Window
from .tokens import quoted

OVERLAP = 64
"""Tokens that neighbouring windows of a long text share."""

_OUTSIDE = ("O", "OUTSIDE")
# The scheme's letter before a label: begin, inside, end, last, single, unit.
_FIRST, _LATER = "BSU", "IEL"
# Scripts that put no space between words: each piece counts as a word.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))


@dataclass(frozen=True)
class LabelledSpan:
    """Characters ``start`` .. ``end`` of a text, which are ``text``, with their label.

    ``score`` is the mean probability of its words' labels.
    """

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class _Piece:
    """A token's characters, without spaces around them, and its probabilities [labels]."""

    start: int
    end: int
    shares: Float64


@dataclass(frozen=True, eq=False)
class TokenClassification:
    """Labelled words and spans of words.

    A word that the tokenizer cuts has the label of its first piece, as such models are trained.
    Labels that begin with B-, I-, E-, L-, S- or U- are joined to spans by that letter, others where
    neighbours have the same one. Without a label ``O`` for the rest, each word stands for itself,
    as for parts of speech. Texts that are longer than the model reads are cut into windows that
    share tokens; each token counts in the window where it has more words around it.
    """

    model: TextModel
    labels: dict[int, str]

    def __call__(
        self, texts: Sequence[str], batch_size: int = 8, progress: Progress | None = None
    ) -> list[tuple[LabelledSpan, ...]]:
        """For each text its spans, in the order in which they stand there.

        Raises:
            InputError: a single string, something that is no text, or a bad batch size.
        """
        if isinstance(texts, str):
            raise InputError("texts is a single string; give a list of strings")
        session = self.model.session
        limit = length_limit(session, self.model.tokenizer)
        tokenizer = replace(self.model.tokenizer, max_length=limit)
        windows: list[Window] = []
        owner: list[int] = []
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"{quoted(text)} is no text; give strings")
            found = tokenizer.windows(text, OVERLAP)
            windows += found
            owner += [number] * len(found)
        logits: list[Float64] = [np.empty((0, 0))] * len(windows)
        for batch in run_rows(
            session, tokenizer, windows, [self.model.output.name], batch_size, progress
        ):
            for row, index in enumerate(batch.index):
                logits[index] = softmax(batch.output[row, : len(windows[index])])
        spans = []
        for number, text in enumerate(texts):
            own = [i for i, each in enumerate(owner) if each == number]
            pieces = _pieces(text, [windows[i] for i in own], [logits[i] for i in own])
            spans.append(self._spans(text, _words(text, pieces)))
        return spans

    def _spans(self, text: str, words: list[_Piece]) -> tuple[LabelledSpan, ...]:
        rest = {label for label in self.labels.values() if label.upper() in _OUTSIDE}
        # One label such as E-MAIL makes no scheme.
        scheme = all(_parts(label)[0] for label in self.labels.values() if label not in rest)
        found: list[LabelledSpan] = []
        scores: list[float] = []
        joins = False  # whether the word before may be gone on with
        for word in words:
            best = int(word.shares.argmax())
            label = self.labels.get(best, f"LABEL_{best}")
            if label in rest:
                joins = False
                continue
            letter, name = _parts(label) if scheme else ("", label)
            later = letter in _LATER if letter else bool(rest)
            score = float(word.shares[best])
            if joins and later and found[-1].label == name:
                before = found.pop()
                scores.append(score)
                start = before.start
            else:
                scores = [score]
                start = word.start
            mean = float(np.mean(scores))
            found.append(LabelledSpan(text[start : word.end], name, mean, start, word.end))
            joins = True
        return tuple(found)


def token_classification(
    session: Session, tokenizer: Tokenizer, folder: Path
) -> TokenClassification:
    """Join a session and a tokenizer; labels come from ``folder/config.json``.

    Raises:
        InputError: a graph without logits of each token.
        FormatError: a damaged config.json.
    """
    output = need_output(session, ("logits",), rank=3, task="token-classification")
    return TokenClassification(TextModel(session, tokenizer, output), read_labels(folder))


def _parts(label: str) -> tuple[str, str]:
    """The scheme's letter, "" for none, and the label without it."""
    letter, dash, name = label.partition("-")
    if dash and name and letter.upper() in tuple(_FIRST + _LATER):
        return letter.upper(), name
    return "", label


def _pieces(text: str, windows: list[Window], shares: list[Float64]) -> list[_Piece]:
    """The tokens of a text that stand for characters of it, each once."""
    places = [[i for i, origin in enumerate(window.texts) if origin == 0] for window in windows]
    pieces = []
    for number, (window, own) in enumerate(zip(windows, places, strict=True)):
        low = _cut(windows, places, number - 1)
        high = _cut(windows, places, number)
        for i in own:
            start, end = window.offsets[i]
            if not low <= start < high:
                continue
            part = text[start:end]
            start += len(part) - len(part.lstrip())
            end = start + len(part.strip())
            if start < end:
                pieces.append(_Piece(start, end, shares[number][i]))
    return pieces


def _cut(windows: list[Window], places: list[list[int]], number: int) -> float:
    """The character at which window ``number`` ends and the next one begins to count."""
    if number < 0:
        return 0
    if number + 1 >= len(windows) or not places[number] or not places[number + 1]:
        return np.inf
    first = windows[number + 1].offsets[places[number + 1][0]][0]
    last = windows[number].offsets[places[number][-1]][1]
    return (first + last) / 2


def _words(text: str, pieces: list[_Piece]) -> list[_Piece]:
    """Pieces joined to words, each with the probabilities of its first piece."""
    words: list[_Piece] = []
    for piece in pieces:
        before = words[-1] if words else None
        if before is not None and piece.end <= before.end:
            continue  # another part of a character's bytes
        if before is not None and piece.start <= before.end and _one_word(text, piece.start):
            words[-1] = replace(before, end=piece.end)
        else:
            words.append(piece)
    return words


def _one_word(text: str, place: int) -> bool:
    """Whether the characters before and at ``place`` belong to one word."""
    return all(char.isalnum() and _is_spaced(char) for char in text[place - 1 : place + 1])


def _is_spaced(char: str) -> bool:
    """Whether words of the character's script have spaces between them."""
    if unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3":
        return False  # Chinese and Japanese; Korean has spaces
    return not any(low <= ord(char) <= high for low, high in _UNSPACED)
