"""How near the models' expectations stay to the original's, on any text."""

from collections.abc import Sequence

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..figures import Figure
from ..model import Subject
from .bootstrap import RESAMPLES, Indices, Metric, figures
from .by_window import ByWindow, Float64, blocks, log_shares
from .predictions import Logits, Predictions, read

_MEASURE = "text"
_TOP = 5


class Agreement:
    """Each model beside the first one, token by token."""

    def __init__(self) -> None:
        self._original: Predictions | None = None
        self._first, self._five, self._divergence = ByWindow(), ByWindow(), ByWindow()

    def add(self, part: Predictions) -> None:
        """As :class:`runtime.evaluate.metrics.predictions.Measure` has it.

        Raises:
            InputError: a model of another vocabulary than the first one's.
        """
        if self._original is None or self._original.model == part.model:
            self._original = part
            return
        base = self._original.logits
        if base.shape != part.logits.shape:
            raise InputError(
                f"{part.model} gives {part.logits.shape[1]} logits a token and "
                f"{self._original.model} {base.shape[1]}; give models of one vocabulary"
            )
        first, five, divergence = compare(base, part.logits)
        self._first.add(part.model, part.window, first)
        self._five.add(part.model, part.window, five)
        self._divergence.add(part.model, part.window, divergence)

    def figures(self, *, resamples: int, seed: int) -> list[Figure]:
        """Three for each model but the first."""
        found: list[Figure] = []
        for metric, values, factor in (
            ("top-1 agreement", self._first, 100.0),
            (f"top-{_TOP} agreement", self._five, 100.0),
            ("KL divergence", self._divergence, 1.0),
        ):
            found += figures(
                _MEASURE,
                metric,
                {model: _times(factor, values.mean(model)) for model in values.models},
                values.count,
                higher_is_better=metric != "KL divergence",
                compare=False,
                resamples=resamples,
                seed=seed,
            )
        return found


def agreement(
    subjects: Sequence[Subject],
    text: str,
    *,
    limit_tokens: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    exact: bool = False,
) -> list[Figure]:
    """What each model expects of ``text`` against what the first one, the original, does.

    No labels are needed. Over the same tokens as :func:`runtime.evaluate.metrics.perplexity`,
    whose arguments these are:

    - «top-1 agreement»: per cent of the tokens where both expect the same token most.
    - «top-5 agreement»: per cent of the original's five likeliest tokens that are among the
      model's five.
    - «KL divergence»: of the model's distribution from the original's, in nats, the mean of
      sum p log(p / q); 0 for the same distribution.

    Raises:
        InputError: fewer than two models, models of different vocabularies, or as
            :func:`runtime.evaluate.metrics.predictions.read`.
    """
    if len(subjects) < 2:
        raise InputError("agreement takes the original and another model; give one more")
    return read(
        subjects,
        text,
        [Agreement()],
        limit_tokens=limit_tokens,
        resamples=resamples,
        seed=seed,
        progress=progress,
        exact=exact,
    )


def compare(original: Logits, other: Logits) -> tuple[Float64, Float64, Float64]:
    """Logits [n, V] of both -> float64 [n] thrice.

    Whether the likeliest token is the same (0 or 1), the share of the original's five likeliest
    that are among the other's, and the divergence of the other from the original in nats.
    """
    n, width = original.shape
    first, five, divergence = np.empty(n), np.empty(n), np.empty(n)
    top = min(_TOP, width)
    for some in blocks(original):
        a, b = original[some], other[some]
        first[some] = a.argmax(-1) == b.argmax(-1)
        best_a, best_b = (np.argpartition(each, width - top, -1)[:, -top:] for each in (a, b))
        five[some] = (best_a[:, :, None] == best_b[:, None, :]).any(-1).mean(-1)
        p, q = log_shares(a), log_shares(b)
        # A token that the original rules out counts for nothing, whatever the other says.
        gap = np.subtract(p, q, out=np.zeros_like(p), where=np.isfinite(p))
        divergence[some] = (np.exp(p) * gap).sum(-1)
    return first, five, divergence


def _times(factor: float, mean: Metric) -> Metric:
    def over(chosen: Indices) -> float:
        return factor * mean(chosen)

    return over
