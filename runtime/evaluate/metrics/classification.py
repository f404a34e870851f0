"""What compression costs on labelled texts, for models that classify them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.tokenize import Text
from ..data.labelled import Labelled
from ..figures import Figure
from ..model import EvaluatedModel, need_task, part
from .bootstrap import RESAMPLES, figures
from .confusion import metrics

MEASURE = "classify"
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


def classification(
    models: Sequence[EvaluatedModel],
    data: Labelled,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Figure]:
    """Classify every text, or pair of texts, by the likeliest label.

    ``note`` is told, a sentence each, what a reader should know of how labels were matched.

    Returns:
        "accuracy", "F1" of label 1 where there are two labels, as in GLUE, else "macro F1", and
        "Matthews", each x 100, over resamples of the texts.

    Raises:
        InputError: no classifiers, or labels that are not the models'.
    """
    need_task(models, ["text-classification"], "labelled texts need a classifier")
    found, matches = {}, []
    for index, model in enumerate(models):
        answers = logits(model, data.texts, part(progress, index, models))
        match = match_labels(data, model, answers.shape[1])
        true = np.array([match.numbers[label] for label in data.labels])
        matches.append(match)
        found[model.name] = metrics(true, answers.argmax(axis=1), answers.shape[1])
    scores = [
        figure
        for metric in next(iter(found.values()))
        for figure in figures(
            MEASURE,
            metric,
            {name: each[metric] for name, each in found.items() if metric in each},
            len(data),
            resamples=resamples,
            seed=seed,
        )
    ]
    if note is not None:
        for line in _notes(data, matches[0], scores):
            note(line)
    return scores


def _notes(data: Labelled, match: LabelMatch, found: Sequence[Figure]) -> list[str]:
    """By number the order may be another one than the model's.

    The sign of that is an original that does worse than who always says the commonest label.
    """
    if match.by == "name":
        return []
    said = [f"labels are matched by number: {match}"]
    accuracy = next(f for f in found if f.metric == "accuracy").score.value
    label, count = Counter(data.labels).most_common(1)[0]
    always = 100.0 * count / len(data)
    if accuracy < always:
        said.append(
            f"the original is right in {accuracy:.1f}% where always saying {label!r} would be in "
            f"{always:.1f}%; is this the model's task, and its order of labels?"
        )
    return said


def logits(
    model: EvaluatedModel, texts: Sequence[Text], progress: Progress | None = None
) -> NDArray[np.float64]:
    """Logits [n, C] of ``texts``; of a single logit both sides, whose softmax is its sigmoid.

    Raises:
        InputError: a model of several labels at once, or one that gives a number and no label.
    """
    classifier = model.classifier()
    if classifier.problem_type in ("multi_label_classification", "regression"):
        what = classifier.problem_type.replace("_", " ")
        raise InputError(f"{model.name} does {what}, not one label a text; that is not measured")
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


def match_labels(data: Labelled, model: EvaluatedModel, outputs: int) -> LabelMatch:
    """Match the data's labels with a model's ``outputs``: by name, else by number.

    By number means: the data's labels are integers below ``outputs``, or the data set says which
    numbers its names have and has as many. Nothing is guessed beyond that.

    Raises:
        InputError: neither fits.
    """
    names = model.classifier().labels
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
        f"the data's labels ({_some(labels)}) are not those of {model.name} ({ours}); call them "
        f"so, or number them 0 .. {outputs - 1} in this order"
    )


def _some(labels: Sequence[str], most: int = 5) -> str:
    return ", ".join(labels[:most]) + (", ..." if len(labels) > most else "")
