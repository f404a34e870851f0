"""How near models stay to the original on any texts, without labels: what classifiers answer."""

from collections.abc import Sequence

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.tokenize import Text
from ..figures import ORIGINAL, Figure
from ..model import Subject, need_task
from .agreement_lm import compare
from .bootstrap import RESAMPLES, figures, mean_of
from .outputs import logits
from .vectors import part

MEASURE = "text"
_TOP = 5


def label_agreement(
    subjects: Sequence[Subject],
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
    need_task(subjects, ["text-classification"], "agreement on labels needs a classifier")
    answers = {
        subject.name: logits(subject, texts, part(progress, index, subjects))
        for index, subject in enumerate(subjects)
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
    if original.shape[1] > _TOP:
        wanted[f"top-{_TOP} agreement"] = (1, 100.0)
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
