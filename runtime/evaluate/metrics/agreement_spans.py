"""How near models stay to the original on any texts, without labels: answers as spans."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.batches import length_limit, run_rows
from ...tasks.tokenize import Text
from ..figures import ORIGINAL, Figure
from ..model import Subject, need_task
from .agreement_lm import compare
from .bootstrap import RESAMPLES, figures, mean_of
from .vectors import part

MEASURE = "text"
_OUTPUTS = ("start_logits", "end_logits")
_BATCH = 16
_WORDS = 12  # of a text, as its question

Float64 = NDArray[np.float64]


def span_agreement(
    subjects: Sequence[Subject],
    texts: Sequence[Text],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Where answers start and end, against the original's, text by text.

    A pair is taken as question and context; a single text is asked about by its own first words.
    No sensible question, but the same one for every model: what is compared is what they compute.

    Returns:
        «top-1 agreement»: per cent of starts and ends whose likeliest place is the original's.
        «KL divergence»: from the original's distributions over places to the model's, in nats, the
        mean of starts and ends.

    Raises:
        InputError: no such models, or models whose tokens are not the same.
    """
    need_task(subjects, ["question-answering"], "agreement on spans needs a model that answers")
    pairs = [(_first_words(text), text) if isinstance(text, str) else text for text in texts]
    answers = {
        subject.name: _places(subject, pairs, part(progress, index, subjects))
        for index, subject in enumerate(subjects)
    }
    original = answers[ORIGINAL]
    first, divergence = {}, {}
    for name, each in answers.items():
        if name == ORIGINAL:
            continue
        if [own.shape for own in each] != [own.shape for own in original]:
            raise InputError(f"{name} splits texts in another way than the original; compare alike")
        sides = [compare(a, b) for a, b in zip(original, each, strict=True)]
        first[name] = mean_of(50.0 * (sides[0][0] + sides[1][0]))
        divergence[name] = mean_of(0.5 * (sides[0][2] + sides[1][2]))
    return [
        figure
        for metric, models in (("top-1 agreement", first), ("KL divergence", divergence))
        for figure in figures(
            MEASURE,
            metric,
            models,
            len(pairs),
            higher_is_better=metric != "KL divergence",
            compare=False,
            resamples=resamples,
            seed=seed,
        )
    ]


def _first_words(text: str) -> str:
    return " ".join(text.split()[:_WORDS])


def _places(
    subject: Subject, pairs: Sequence[tuple[str, str]], progress: Progress | None
) -> list[Float64]:
    """Logits of starts and of ends [n, length], minus infinity on padding."""
    known = {info.name for info in subject.session.outputs}
    if not known.issuperset(_OUTPUTS):
        raise InputError(
            f"{subject.name} gives {', '.join(sorted(known))}; a model that answers questions "
            f"gives {' and '.join(_OUTPUTS)}"
        )
    limit = length_limit(subject.session, subject.tokenizer)
    tokenizer = replace(subject.tokenizer, max_length=limit)
    rows = tokenizer.split(pairs)
    longest = max(map(len, rows))
    found = [np.full((len(rows), longest), -np.inf) for _ in _OUTPUTS]
    for batch in run_rows(subject.session, tokenizer, rows, _OUTPUTS, _BATCH, progress):
        for values, name in zip(found, _OUTPUTS, strict=True):
            for row, index in enumerate(batch.index):
                count = len(rows[index])
                values[index, :count] = batch.outputs[name][row, :count]
    return found
