"""What compression costs on questions about texts: SQuAD's exact match and F1."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.progress import Progress

from ...tasks.question_answering import question_answering as pipeline
from ..data.squad import Questions
from ..figures import Figure
from ..model import EvaluatedModel, need_task, part
from .bootstrap import RESAMPLES, figures, mean_of

_MEASURE = "qa"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

Float64 = NDArray[np.float64]


def question_answering(
    models: Sequence[EvaluatedModel],
    questions: Questions,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Figure]:
    """«exact match» and «F1» of each model's best answers, times 100; questions are resampled.

    As SQuAD 1.1 and 2.0 define them (Rajpurkar et al. 2016, section 6.1; 2018, section 5). Where
    some of the ``questions`` have no answer, the models may give none, at threshold 0.

    Args:
        models: models for question-answering, the original first.
        questions: one or more.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: told of after each batch.

    Raises:
        InputError: a model that does not answer questions, or a question that fills its window.
    """
    need_task(models, ("question-answering",), "questions need a model that answers them")
    pairs = list(zip(questions.questions, questions.contexts, strict=True))
    exact: dict[str, Float64] = {}
    overlap: dict[str, Float64] = {}
    for number, model in enumerate(models):
        answer = pipeline(model.session, model.tokenizer)
        found = answer(
            pairs,
            no_answer=questions.unanswerable > 0,
            progress=part(progress, number, models, "answering questions"),
        )
        texts = [answers[0].text if answers else "" for answers in found]
        exact[model.name] = _scores(exact_match, texts, questions)
        overlap[model.name] = _scores(f1, texts, questions)
    return [
        figure
        for metric, values in (("exact match", exact), ("F1", overlap))
        for figure in figures(
            _MEASURE,
            metric,
            {name: mean_of(100.0 * scores) for name, scores in values.items()},
            len(questions),
            resamples=resamples,
            seed=seed,
        )
    ]


def normalised(text: str) -> str:
    """In lower case, without punctuation (ASCII) and English articles, words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(found: str, answer: str) -> float:
    """1 if both are the same when :func:`normalised`, else 0."""
    return float(normalised(found) == normalised(answer))


def f1(found: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the words, each as often as it occurs.

    Where either has no words, as an empty answer: 1 if both have none, else 0.
    """
    ours, theirs = normalised(found).split(), normalised(answer).split()
    if not ours or not theirs:
        return float(ours == theirs)
    return 2.0 * sum((Counter(ours) & Counter(theirs)).values()) / (len(ours) + len(theirs))


def _scores(
    score: Callable[[str, str], float], found: Sequence[str], questions: Questions
) -> Float64:
    """The best of each question's answers [n]."""
    return np.array(
        [
            # An answer of articles and punctuation alone counts for nothing where there is another.
            max(
                score(text, answer)
                for answer in [answer for answer in answers if normalised(answer)] or [""]
            )
            for text, answers in zip(found, questions.answers, strict=True)
        ]
    )
