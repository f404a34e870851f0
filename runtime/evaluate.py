"""What compression costs on scored sentence pairs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from toolkit.errors import InputError
from toolkit.progress import Progress

from .feature_extraction import FeatureExtraction, Float32
from .pairs import Pairs

_TINY = 1e-12  # shortest length that is divided by


@dataclass(frozen=True)
class PairReport:
    """Two models on the same pairs.

    Attributes:
        count: pairs.
        original: Spearman correlation x 100 of the original's cosines with the human scores.
        compressed: the same for the compressed model.
        drop: ``original - compressed``, in points.
        retained: compressed in per cent of the original.
        cosine_mean: mean cosine of a sentence's two vectors, over the distinct sentences.
        cosine_p5: the 5th percentile of these cosines.
    """

    count: int
    original: float
    compressed: float
    drop: float
    retained: float
    cosine_mean: float
    cosine_p5: float

    def to_dict(self) -> dict[str, float]:
        """All figures by name."""
        return dataclasses.asdict(self)


def evaluate_pairs(
    compressed: FeatureExtraction,
    original: FeatureExtraction,
    pairs: Pairs,
    progress: Progress | None = None,
) -> PairReport:
    """Encode each distinct sentence once in either model and compare.

    Raises:
        InputError: fewer than two pairs, scores or cosines that are all equal, or models whose
            vectors have different widths.
    """
    if len(pairs) < 2 or len(set(pairs.scores)) < 2:
        raise InputError(
            f"{len(pairs)} pairs with {len(set(pairs.scores))} different scores have no "
            "correlation; give pairs with at least two different scores"
        )
    sentences = list(dict.fromkeys(pairs.left + pairs.right))
    first = original(sentences, progress=_part(progress, 0.0, "encoding with the original"))
    second = compressed(sentences, progress=_part(progress, 0.5, "encoding with the bundle"))
    if first.shape != second.shape:
        raise InputError(
            f"the models' vectors have {first.shape[1]} and {second.shape[1]} columns; "
            "compare a bundle with the model it was made from"
        )
    place = {sentence: index for index, sentence in enumerate(sentences)}
    left = np.array([place[sentence] for sentence in pairs.left])
    right = np.array([place[sentence] for sentence in pairs.right])
    before = _spearman(cosines(first[left], first[right]), pairs.scores, "original")
    after = _spearman(cosines(second[left], second[right]), pairs.scores, "compressed")
    same = cosines(first, second)
    return PairReport(
        count=len(pairs),
        original=before,
        compressed=after,
        drop=before - after,
        retained=100.0 * after / before if before else float("nan"),
        cosine_mean=float(same.mean()),
        cosine_p5=float(np.percentile(same, 5)),
    )


def cosines(left: Float32, right: Float32) -> NDArray[np.float64]:
    """Row by row: [n, d] and [n, d] -> float64 [n]; 0 where a row is all zeros."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(lengths, _TINY)


def _spearman(values: NDArray[np.float64], scores: Sequence[float], which: str) -> float:
    if not np.ptp(values) > 0:  # also true of NaN
        raise InputError(
            f"the {which} model gives every pair the same cosine; is it the right one?"
        )
    return 100.0 * float(spearmanr(values, scores).statistic)


def _part(progress: Progress | None, start: float, what: str) -> Progress | None:
    if progress is None:
        return None
    return lambda share, _: progress(start + 0.5 * share, what)
