"""What compression costs on labelled texts, for models that classify them."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from toolkit.progress import Progress

from ..data.labelled import Labelled
from ..figures import Figure
from ..model import Subject, need_task
from .bootstrap import RESAMPLES, figures
from .confusion import metrics
from .outputs import LabelMatch, logits, match_labels
from .vectors import part

MEASURE = "classify"


def classification(
    subjects: Sequence[Subject],
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
    need_task(subjects, ["text-classification"], "labelled texts need a classifier")
    found, matches = {}, []
    for index, subject in enumerate(subjects):
        answers = logits(subject, data.texts, part(progress, index, subjects))
        match = match_labels(data, subject, answers.shape[1])
        true = np.array([match.numbers[label] for label in data.labels])
        matches.append(match)
        found[subject.name] = metrics(true, answers.argmax(axis=1), answers.shape[1])
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
