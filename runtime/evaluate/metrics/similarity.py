"""How near models stay to the original on any texts, without labels: sentence vectors."""

from collections.abc import Sequence
from functools import partial

from toolkit.progress import Progress

from ..figures import Figure
from ..model import Subject, need_task
from .bootstrap import RESAMPLES, figures
from .vectors import encode, to_original

MEASURE = "text"


def sentence_similarity(
    subjects: Sequence[Subject],
    texts: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Cosine of each text's vector to the original's, as :func:`vectors.to_original` has it.

    Raises:
        InputError: no sentence encoders.
    """
    need_task(subjects, ["feature-extraction"], "cosines need sentence vectors")
    vectors = encode(subjects, texts, progress)
    return to_original(MEASURE, vectors, partial(figures, resamples=resamples, seed=seed))
