"""Accuracy, F1 and Matthews' correlation of many resamples, from counts.

scikit-learn has all three, and the tests compare with it; but a call of it takes milliseconds, and
a bootstrap makes thousands of them.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Indices, Metric

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


def metrics(true: Int64, predicted: Int64, classes: int) -> dict[str, Metric]:
    """Accuracy, F1 and Matthews' correlation, each x 100, of labels 0 .. ``classes`` - 1 [n].

    F1 is that of label 1 where there are two, as in GLUE, else the mean over the labels that occur.
    """
    cells = true * classes + predicted

    def over(of: Callable[[Float64], float]) -> Metric:
        def metric(chosen: Indices) -> float:
            counts = np.bincount(cells[chosen], minlength=classes * classes)
            return 100.0 * of(counts.reshape(classes, classes).astype(np.float64))

        return metric

    f1 = {"F1": over(f1_of_one)} if classes == 2 else {"macro F1": over(macro_f1)}
    return {"accuracy": over(accuracy), **f1, "Matthews": over(matthews)}


def accuracy(counts: Float64) -> float:
    """Of counts [true, predicted]: the share on the diagonal."""
    return float(np.trace(counts) / counts.sum())


def f1_of_one(counts: Float64) -> float:
    """F1 of label 1; 0 where it never occurs."""
    return float(_f1(counts)[1])


def macro_f1(counts: Float64) -> float:
    """Mean F1 of the labels that are true or predicted anywhere."""
    occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
    return float(_f1(counts)[occurs].mean())


def matthews(counts: Float64) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where it is undefined."""
    n, right = counts.sum(), np.trace(counts)
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    spread = (n * n - predicted @ predicted) * (n * n - true @ true)
    return float((right * n - true @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0


def _f1(counts: Float64) -> Float64:
    total = counts.sum(axis=0) + counts.sum(axis=1)
    scores: Float64 = 2 * np.diagonal(counts) / np.maximum(total, 1)
    return scores
