"""All measures that are asked for, over all models."""

from collections.abc import Callable, Sequence
from functools import partial

from toolkit.progress import Progress

from ..tasks.batches import length_limit
from .data.files import CLASSIFIER, ENCODER, Data
from .figures import Figure
from .metrics.agreement import label_agreement, span_agreement
from .metrics.bootstrap import RESAMPLES
from .metrics.classification import classification
from .metrics.language_model import language_model
from .metrics.probe import linear_probe
from .metrics.question_answering import question_answering
from .metrics.similarity import sentence_similarity
from .metrics.sts import sentence_pairs
from .model import EvaluatedModel
from .report import EvaluationReport, models_of

Job = Callable[..., list[Figure]]  # takes resamples, seed and progress by name


def measure(
    models: Sequence[EvaluatedModel],
    data: Data,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure ``models``, the original first, by everything in ``data``.

    Raises:
        InputError: models that a measure does not suit, or data that do not suit the models.
    """
    notes = list(data.notes)
    if data.running is None:  # the windows of running text suit all models
        notes = _lengths(models) + notes
    jobs = _jobs(models, data, notes)
    found: list[Figure] = []
    for number, job in enumerate(jobs):
        share = None if progress is None else _part(progress, number, len(jobs))
        found += job(resamples=resamples, seed=seed, progress=share)
    return EvaluationReport(
        models[0].task, models_of(models), tuple(found), tuple(notes), resamples, seed
    )


def _jobs(models: Sequence[EvaluatedModel], data: Data, notes: list[str]) -> list[Job]:
    jobs: list[Job] = []
    if data.pairs is not None:
        jobs.append(partial(sentence_pairs, models, data.pairs))
    if data.probe is not None:
        jobs.append(partial(linear_probe, models, *data.probe))
    if data.labelled is not None:
        jobs.append(partial(classification, models, data.labelled, note=notes.append))
    if data.questions is not None:
        jobs.append(partial(question_answering, models, data.questions))
    if data.running is not None:
        foretold = partial(language_model, models, data.running)
        jobs.append(partial(foretold, limit_tokens=data.tokens, exact=data.exact))
    if data.texts is not None:
        own: dict[str, Job] = {ENCODER: sentence_similarity, CLASSIFIER: label_agreement}
        jobs.append(partial(own.get(models[0].task, span_agreement), models, data.texts))
    return jobs


def _lengths(models: Sequence[EvaluatedModel]) -> list[str]:
    """A graph of a fixed length cuts texts that the original reads further."""
    limits = {each.name: length_limit(each.session, each.tokenizer) for each in models}
    first = limits[models[0].name]
    return [
        f"{name} reads {limit or 'any number of'} tokens of a text, {models[0].name} "
        f"{first or 'any number'}; longer texts are not the same to both"
        for name, limit in limits.items()
        if limit != first
    ]


def _part(progress: Progress, number: int, count: int) -> Progress:
    return lambda share, what: progress((number + share) / count, what)
