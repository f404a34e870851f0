"""Sentence vectors of every model, and how near they stay to the original's."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from toolkit.progress import Progress
from toolkit.table.metrics import cosines

from ...tasks.feature_extraction import Float32
from ..figures import ORIGINAL, Figure
from ..model import EvaluatedModel, need_task, part
from .bootstrap import RESAMPLES, figures

MEASURE = "text"
_LOW = 5  # per cent


def sentence_similarity(
    models: Sequence[EvaluatedModel],
    texts: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Cosine of each text's vector to the original's, as :func:`to_original` has it.

    Raises:
        InputError: no sentence encoders.
    """
    need_task(models, ["feature-extraction"], "cosines need sentence vectors")
    vectors = encode(models, texts, progress)
    return to_original(MEASURE, vectors, partial(figures, resamples=resamples, seed=seed))


def encode(
    models: Sequence[EvaluatedModel], texts: Sequence[str], progress: Progress | None = None
) -> dict[str, Float32]:
    """Vectors float32 [n, d] of each model, by its name.

    Raises:
        InputError: a graph without vectors.
    """
    return {
        model.name: model.encoder()(texts, progress=part(progress, index, models))
        for index, model in enumerate(models)
    }


def to_original(
    measure: str, vectors: Mapping[str, Float32], draw: Callable[..., list[Figure]]
) -> list[Figure]:
    """Cosine of each text's vector to the original's: «cosine, mean», and «cosine, 5th percentile»,
    which 95 of 100 texts are above.

    Models whose vectors have another width are left out: nothing compares them. ``draw`` is
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
        for figure in draw(
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
