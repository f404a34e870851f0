"""What classifiers answer: their logits, and which label each of these stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.tokenize import Text
from ..data.labelled import Labelled
from ..model import Subject

_BATCH = 32


@dataclass(frozen=True)
class LabelMatch:
    """Which output of a model each label of the data stands for, and ``by`` what: name or number.

    ``names``: what the model calls its outputs.
    """

    numbers: Mapping[str, int]
    by: str
    names: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = sorted((number, label) for label, number in self.numbers.items())
        return ", ".join(
            f"{label} = {self.names.get(number, f'output {number}')}" for number, label in pairs
        )


def logits(
    subject: Subject, texts: Sequence[Text], progress: Progress | None = None
) -> NDArray[np.float64]:
    """Logits [n, C] of ``texts``; of a single logit both sides, whose softmax is its sigmoid.

    Raises:
        InputError: a model of several labels at once, or one that gives a number and no label.
    """
    classifier = subject.classifier()
    if classifier.problem_type in ("multi_label_classification", "regression"):
        what = classifier.problem_type.replace("_", " ")
        raise InputError(f"{subject.name} does {what}, not one label a text; that is not measured")
    found: NDArray[np.float64] | None = None
    for batch in classifier.model.batches(texts, _BATCH, progress):
        values = batch.output.astype(np.float64)
        if values.shape[1] == 1:
            values = np.concatenate([np.zeros_like(values), values], axis=1)
        if found is None:
            found = np.empty((len(texts), values.shape[1]))
        found[batch.index] = values
    if found is None:
        raise InputError("there is no text to classify; give one or more")
    return found


def match_labels(data: Labelled, subject: Subject, outputs: int) -> LabelMatch:
    """Match the data's labels with a model's ``outputs``: by name, else by number.

    By number means: the data's labels are integers below ``outputs``, or the data set says which
    numbers its names have and has as many. Nothing is guessed beyond that.

    Raises:
        InputError: neither fits.
    """
    names = subject.classifier().labels
    known = {name.strip().casefold(): number for number, name in names.items() if number < outputs}
    labels = list(dict.fromkeys(data.labels))
    if all(label.casefold() in known for label in labels):
        return LabelMatch({label: known[label.casefold()] for label in labels}, "name", names)
    if all(label.isdecimal() and int(label) < outputs for label in labels):
        return LabelMatch({label: int(label) for label in labels}, "number", names)
    if len(data.classes) == outputs:
        order = {label: number for number, label in enumerate(data.classes)}
        return LabelMatch(order, "number", names)
    ours = ", ".join(names.get(number, f"LABEL_{number}") for number in range(outputs))
    raise InputError(
        f"the data's labels ({_some(labels)}) are not those of {subject.name} ({ours}); call them "
        f"so, or number them 0 .. {outputs - 1} in this order"
    )


def _some(labels: Sequence[str], most: int = 5) -> str:
    return ", ".join(labels[:most]) + (", ..." if len(labels) > most else "")
