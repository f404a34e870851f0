"""Perplexity and agreement of language models in one pass over a text."""

from collections.abc import Sequence

from toolkit.progress import Progress

from ..figures import Figure
from ..model import Subject
from .agreement_lm import Agreement
from .bootstrap import RESAMPLES
from .perplexity import Perplexity, metric_name
from .predictions import Measure, read


def language_model(
    subjects: Sequence[Subject],
    text: str,
    *,
    limit_tokens: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    exact: bool = False,
) -> list[Figure]:
    """The figures of :func:`perplexity`, then those of :func:`agreement`, with their arguments.

    Each model runs once, not twice. A single model has no agreement.

    Raises:
        InputError: as the two do.
    """
    measures: list[Measure] = [Perplexity(metric_name(subjects, exact))]
    if len(subjects) > 1:
        measures.append(Agreement())
    return read(
        subjects,
        text,
        measures,
        limit_tokens=limit_tokens,
        resamples=resamples,
        seed=seed,
        progress=progress,
        exact=exact,
    )
