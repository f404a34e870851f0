"""A linear probe: how much of a task a linear classifier can still read from the vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.progress import Progress

from ...tasks.feature_extraction import Float32
from ..data.labelled import Labelled
from ..data.texts import flat
from ..figures import Figure
from ..model import EvaluatedModel, need_task, part
from .bootstrap import RESAMPLES, figures
from .confusion import metrics

MEASURE = "probe"
_ITERATIONS = 1000  # at most


def linear_probe(
    models: Sequence[EvaluatedModel],
    train: Labelled,
    test: Labelled,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Logistic regression on each model's own vectors of ``train``, scored on ``test``.

    Vectors are standardised by the training texts; scikit-learn's LogisticRegression, L2 of its
    default strength, is fitted for each model anew. Everything is deterministic.

    Returns:
        "accuracy", "macro F1" ("F1" of the second label where there are two) and "Matthews", each
        x 100, over resamples of ``test``; the probe is not fitted again.

    Raises:
        InputError: no sentence encoders, pairs of texts, a single label, or a label in ``test``
            that ``train`` does not have.
        MissingDependencyError: the extra `probe` is not installed.
    """
    need_task(models, ["feature-extraction"], "a probe needs sentence vectors")
    require("probe")
    names = sorted(set(train.labels))
    _check(train, test, names)
    number = {name: index for index, name in enumerate(names)}
    goal = np.array([number[label] for label in train.labels])
    true = np.array([number[label] for label in test.labels])
    sides = flat(train.texts + test.texts)
    place = {text: index for index, text in enumerate(sides)}
    rows, held = ([place[str(text)] for text in data.texts] for data in (train, test))
    found = {}
    for index, model in enumerate(models):
        vectors = model.encoder()(sides, progress=part(progress, index, models))
        guessed = _fit_and_predict(vectors[rows], goal, vectors[held])
        found[model.name] = metrics(true, guessed, len(names))
    return [
        figure
        for metric in next(iter(found.values()))
        for figure in figures(
            MEASURE,
            metric,
            {name: each[metric] for name, each in found.items()},
            len(test),
            resamples=resamples,
            seed=seed,
        )
    ]


def _fit_and_predict(
    vectors: Float32, labels: NDArray[np.int64], others: Float32
) -> NDArray[np.int64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    model.fit(vectors.astype(np.float64), labels)
    guessed: NDArray[np.int64] = model.predict(others.astype(np.float64))
    return guessed


def _check(train: Labelled, test: Labelled, names: Sequence[str]) -> None:
    if any(not isinstance(text, str) for text in (*train.texts, *test.texts)):
        raise InputError("the probe's files hold pairs; give single texts, each with a label")
    if len(names) < 2:
        raise InputError(f"the training file has one label, {names[0]!r}; give two or more")
    new = sorted(set(test.labels) - set(names))
    if new:
        raise InputError(
            f"label {new[0]!r} is in the test file and not in the training file; "
            "divide one collection into both"
        )
