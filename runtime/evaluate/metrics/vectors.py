"""Sentence vectors of every model, and how near they stay to the original's."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from toolkit.progress import Progress
from toolkit.table.metrics import cosines

from ...tasks.feature_extraction import Float32
from ..figures import ORIGINAL, Figure
from ..model import Subject

_LOW = 5  # per cent


def encode(
    subjects: Sequence[Subject], texts: Sequence[str], progress: Progress | None = None
) -> dict[str, Float32]:
    """Vectors float32 [n, d] of each model, by its name.

    Raises:
        InputError: a graph without vectors.
    """
    return {
        subject.name: subject.encoder()(texts, progress=part(progress, index, subjects))
        for index, subject in enumerate(subjects)
    }


def to_original(
    measure: str, vectors: Mapping[str, Float32], figures: Callable[..., list[Figure]]
) -> list[Figure]:
    """Cosine of each text's vector to the original's: «cosine, mean», and «cosine, 5th percentile»,
    which 95 of 100 texts are above.

    Models whose vectors have another width are left out: nothing compares them. ``figures`` is
    :func:`bootstrap.figures` with its options.
    """
    original = vectors[ORIGINAL]
    near = {
        name: cosines(original, each)
        for name, each in vectors.items()
        if name != ORIGINAL and each.shape == original.shape
    }
    metrics = {
        "cosine, mean": lambda values: float(values.mean()),
        f"cosine, {_LOW}th percentile": lambda values: float(np.percentile(values, _LOW)),
    }
    return [
        figure
        for metric, of in metrics.items()
        for figure in figures(
            measure,
            metric,
            {
                name: lambda chosen, values=values, of=of: of(values[chosen])
                for name, values in near.items()
            },
            len(original),
            compare=False,
        )
    ]


def part(progress: Progress | None, index: int, subjects: Sequence[Subject]) -> Progress | None:
    """The progress of one of several models that take as long as one another."""
    if progress is None:
        return None
    name = subjects[index].name
    return lambda share, _: progress((index + share) / len(subjects), f"running {name}")
