"""Texts to labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import FormatError
from toolkit.json_files import read_json
from toolkit.progress import Progress

from ..session import Array, Session
from .batches import TextModel, need_output
from .tokenize import Text, Tokenizer

Float64 = NDArray[np.float64]

_CONFIG = "config.json"


def softmax(logits: NDArray[np.floating]) -> Float64:
    """Along the last axis, in float64."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.floating]) -> Float64:
    """Of each element, in float64, without overflow."""
    halves = np.tanh(0.5 * logits.astype(np.float64))
    return 0.5 * (1.0 + halves)


@dataclass(frozen=True)
class LabelScore:
    """A label with its probability (its plain value where the model is a regression)."""

    label: str
    score: float


@dataclass(frozen=True)
class Classification:
    """One text's labels, the best first."""

    scores: tuple[LabelScore, ...]

    @property
    def label(self) -> str:
        """The best label."""
        return self.scores[0].label

    @property
    def score(self) -> float:
        """The best label's score."""
        return self.scores[0].score


@dataclass(frozen=True, eq=False)
class TextClassification:
    """Labels and scores. ``problem_type`` as in the model's config.json, None if unset."""

    model: TextModel
    labels: dict[int, str]
    problem_type: str | None

    def __call__(
        self, texts: Sequence[Text], batch_size: int = 32, progress: Progress | None = None
    ) -> list[Classification]:
        """One :class:`Classification` a text, in the order given.

        Raises:
            InputError: a single string, a bad batch size, or texts that the model cannot take.
        """
        results: dict[int, Classification] = {}
        for batch in self.model.batches(texts, batch_size, progress):
            scores = self._scores(batch.output)
            for row, index in enumerate(batch.index):
                results[int(index)] = self._classification(scores[row])
        return [results[index] for index in range(len(texts))]

    def _scores(self, logits: Array) -> Float64:
        if self.problem_type == "regression":
            return logits.astype(np.float64)
        if self.problem_type == "multi_label_classification" or logits.shape[-1] == 1:
            return sigmoid(logits)
        return softmax(logits)

    def _classification(self, scores: Float64) -> Classification:
        order = np.argsort(-scores, kind="stable")
        return Classification(
            tuple(
                LabelScore(self.labels.get(int(i), f"LABEL_{i}"), float(scores[i])) for i in order
            )
        )


def text_classification(session: Session, tokenizer: Tokenizer, folder: Path) -> TextClassification:
    """Join a session and a tokenizer; labels come from ``folder/config.json``.

    Raises:
        InputError: a graph without logits.
        FormatError: a damaged config.json.
    """
    labels = read_labels(folder)
    output = need_output(session, ("logits",), rank=2, task="text-classification")
    return TextClassification(
        TextModel(session, tokenizer, output),
        labels,
        read_json(folder / _CONFIG).get("problem_type"),
    )


def read_labels(folder: Path) -> dict[int, str]:
    """Names of a model's labels by their numbers, as ``folder/config.json`` has them.

    Raises:
        FormatError: a damaged config.json.
    """
    path = folder / _CONFIG
    names = read_json(path).get("id2label") or {}
    try:
        return {int(number): str(name) for number, name in names.items()}
    except (ValueError, AttributeError) as error:
        raise FormatError(f"id2label in {path} is damaged ({error}); copy it again") from error
