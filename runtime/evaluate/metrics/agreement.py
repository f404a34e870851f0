"""How near classifiers and models that answer questions stay to the original, without labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.batches import length_limit, run_rows
from ...tasks.tokenize import Text
from ..figures import ORIGINAL, Figure
from ..model import EvaluatedModel, need_task, part
from .bootstrap import RESAMPLES, figures, mean_of
from .classification import logits
from .distributions import TOP, Float64, compare

MEASURE = "text"
_OUTPUTS = ("start_logits", "end_logits")
_BATCH = 16
_WORDS = 12  # of a text, as its question


def label_agreement(
    models: Sequence[EvaluatedModel],
    texts: Sequence[Text],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """Distributions over labels against the original's, text by text.

    Returns:
        «top-1 agreement»: per cent of the texts whose likeliest label is the original's. «top-5
        agreement»: per cent of the original's five likeliest labels that are among the model's, of
        models with more than five. «KL divergence»: from the original's distribution to the
        model's, in nats.

    Raises:
        InputError: no classifiers, or models with other numbers of labels.
    """
    need_task(models, ["text-classification"], "agreement on labels needs a classifier")
    answers = {
        model.name: logits(model, texts, part(progress, index, models))
        for index, model in enumerate(models)
    }
    original = answers[ORIGINAL]
    for name, each in answers.items():
        if each.shape != original.shape:
            raise InputError(
                f"{name} has {each.shape[1]} labels and the original {original.shape[1]}; "
                "compare models of one set of labels"
            )
    found = {n: compare(original, each) for n, each in answers.items() if n != ORIGINAL}
    wanted = {"top-1 agreement": (0, 100.0)}
    if original.shape[1] > TOP:
        wanted[f"top-{TOP} agreement"] = (1, 100.0)
    wanted["KL divergence"] = (2, 1.0)
    return [
        figure
        for metric, (column, factor) in wanted.items()
        for figure in figures(
            MEASURE,
            metric,
            {name: mean_of(factor * columns[column]) for name, columns in found.items()},
            len(texts),
            higher_is_better=metric != "KL divergence",
            compare=False,
            resamples=resamples,
            seed=seed,
        )
    ]


def span_agreement(
    models: Sequence[EvaluatedModel],
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
    need_task(models, ["question-answering"], "agreement on spans needs a model that answers")
    pairs = [(_first_words(text), text) if isinstance(text, str) else text for text in texts]
    answers = {
        model.name: _places(model, pairs, part(progress, index, models))
        for index, model in enumerate(models)
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
    model: EvaluatedModel, pairs: Sequence[tuple[str, str]], progress: Progress | None
) -> list[Float64]:
    """Logits of starts and of ends [n, length], minus infinity on padding."""
    known = {info.name for info in model.session.outputs}
    if not known.issuperset(_OUTPUTS):
        raise InputError(
            f"{model.name} gives {', '.join(sorted(known))}; a model that answers questions "
            f"gives {' and '.join(_OUTPUTS)}"
        )
    limit = length_limit(model.session, model.tokenizer)
    tokenizer = replace(model.tokenizer, max_length=limit)
    rows = tokenizer.split(pairs)
    longest = max(map(len, rows))
    found = [np.full((len(rows), longest), -np.inf) for _ in _OUTPUTS]
    for batch in run_rows(model.session, tokenizer, rows, _OUTPUTS, _BATCH, progress):
        for values, name in zip(found, _OUTPUTS, strict=True):
            for row, index in enumerate(batch.index):
                count = len(rows[index])
                values[index, :count] = batch.outputs[name][row, :count]
    return found
