"""What compression costs on scored sentence pairs."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress
from toolkit.table.metrics import cosines

from ...tasks.feature_extraction import Float32
from ..data.pairs import Pairs
from ..figures import ORIGINAL, Figure
from ..model import EvaluatedModel, need_task
from .bootstrap import RESAMPLES, Indices, figures
from .similarity import encode, to_original

MEASURE = "pairs"


def sentence_pairs(
    models: Sequence[EvaluatedModel],
    pairs: Pairs,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Encode each distinct sentence once in every model.

    Returns:
        Figures of three names. «Spearman» is Spearman's rank correlation of the cosines with the
        human scores, x 100, over resamples of the pairs. «cosine, mean» and «cosine, 5th
        percentile» say how near a sentence's vector stays to the original's, over the distinct
        sentences; see :func:`similarity.to_original`.

    Raises:
        InputError: no sentence encoders, fewer than two pairs, or scores or cosines that are all
            equal.
    """
    need_task(models, ["feature-extraction"], "pairs need sentence vectors")
    scores = np.asarray(pairs.scores)
    if len(np.unique(scores)) < 2:
        raise InputError(
            f"{len(pairs)} pairs with {len(np.unique(scores))} different scores have no "
            "correlation; give pairs with at least two different scores"
        )
    sentences = list(dict.fromkeys(pairs.left + pairs.right))
    place = {sentence: index for index, sentence in enumerate(sentences)}
    left = np.array([place[sentence] for sentence in pairs.left])
    right = np.array([place[sentence] for sentence in pairs.right])
    vectors = encode(models, sentences, progress)
    found = {name: _likeness(each[left], each[right], name) for name, each in vectors.items()}
    drawn = partial(figures, resamples=resamples, seed=seed)
    return [
        *drawn(
            MEASURE,
            "Spearman",
            {name: partial(_spearman, each, scores) for name, each in found.items()},
            len(pairs),
        ),
        *(to_original(MEASURE, vectors, drawn) if ORIGINAL in vectors else ()),
    ]


def _likeness(left: Float32, right: Float32, which: str) -> NDArray[np.float64]:
    values = cosines(left, right)
    if not np.ptp(values) > 0:  # also true of NaN
        raise InputError(f"model {which} gives every pair the same cosine; is it the right one?")
    return values


def _spearman(values: NDArray[np.float64], scores: NDArray[np.float64], chosen: Indices) -> float:
    """Pearson's correlation of the ranks; NaN where either side is constant."""
    a, b = _ranks(values[chosen]), _ranks(scores[chosen])
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return 100.0 * float(a @ b / length) if length else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 on, float64 [n]; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
