"""How well language models foretell a text: perplexity."""

from collections.abc import Sequence

import numpy as np

from toolkit.progress import Progress

from ..figures import Figure
from ..model import Subject
from .bootstrap import RESAMPLES, Indices, Metric, figures
from .by_window import ByWindow, Float64, Int64, blocks, log_shares
from .predictions import SHARE, Logits, Predictions, is_masked, read

_MEASURE = "text"


class Perplexity:
    """The exponential of the mean loss, in nats, of the tokens that were foretold."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._losses = ByWindow()

    def add(self, part: Predictions) -> None:
        """As :class:`runtime.evaluate.metrics.predictions.Measure` has it."""
        self._losses.add(part.model, part.window, losses(part.logits, part.target))

    def figures(self, *, resamples: int, seed: int) -> list[Figure]:
        """One for each model, in the order they came."""
        models = {model: _exp(self._losses.mean(model)) for model in self._losses.models}
        return figures(
            _MEASURE,
            self._metric,
            models,
            self._losses.count,
            higher_is_better=False,
            resamples=resamples,
            seed=seed,
        )


def perplexity(
    subjects: Sequence[Subject],
    text: str,
    *,
    limit_tokens: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    exact: bool = False,
) -> list[Figure]:
    """Perplexity of ``text`` under each model; lower is better.

    The text is read in windows that do not overlap, as :func:`text_windows` cuts them, so figures
    compare models and are higher than those of a sliding window. What it is follows from the task:

    - text-generation: «perplexity», each token foretold from those before it in its window.
    - fill-mask: «masked perplexity (15%)», that of tokens drawn with ``seed`` and masked together,
      as in training.
    - fill-mask and ``exact``: «pseudo-perplexity», each token masked alone (Salazar et al. 2020,
      «Masked Language Model Scoring», section 2.3, over all tokens). It takes one run a token.

    Args:
        subjects: models that share a tokenizer, the original first.
        text: any length.
        limit_tokens: tokens that are read from the start of ``text``; None for all.
        resamples: of the bootstrap, which draws windows.
        seed: of the masks and the bootstrap.
        progress: told of after each batch.
        exact: see above; without a meaning for text-generation.

    Raises:
        InputError: as :func:`runtime.evaluate.metrics.predictions.read`.
    """
    return read(
        subjects,
        text,
        [Perplexity(metric_name(subjects, exact))],
        limit_tokens=limit_tokens,
        resamples=resamples,
        seed=seed,
        progress=progress,
        exact=exact,
    )


def metric_name(subjects: Sequence[Subject], exact: bool) -> str:
    """What the perplexity of these models is called.

    Raises:
        InputError: no language models, or models of both kinds.
    """
    if not is_masked(subjects):
        return "perplexity"
    return "pseudo-perplexity" if exact else f"masked perplexity ({SHARE:.0%})"


def losses(logits: Logits, target: Int64) -> Float64:
    """Nats of each target [n] under ``logits`` [n, V]."""
    found = np.empty(len(target))
    for some in blocks(logits):
        found[some] = -np.take_along_axis(log_shares(logits[some]), target[some, None], -1)[:, 0]
    return found


def _exp(mean: Metric) -> Metric:
    def over(chosen: Indices) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(mean(chosen)))

    return over
