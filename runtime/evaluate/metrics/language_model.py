"""Language models on any text: perplexity, and agreement with the original, in one pass."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..figures import Figure
from ..model import EvaluatedModel
from .bootstrap import RESAMPLES, Indices, Metric, figures
from .distributions import TOP, Float64, Logits, blocks, compare, log_shares
from .predictions import SHARE, Measure, Predictions, is_masked, read

Int64 = NDArray[np.int64]

_MEASURE = "text"


def language_model(
    models: Sequence[EvaluatedModel],
    text: str,
    *,
    limit_tokens: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    exact: bool = False,
) -> list[Figure]:
    """Perplexity of ``text`` under each model, and agreement with the first one, the original.

    The text is read in windows that do not overlap, as :func:`text_windows` cuts them, so
    perplexities compare models and are higher than those of a sliding window. Which it is follows
    from the task:

    - text-generation: «perplexity», each token foretold from those before it in its window.
    - fill-mask: «masked perplexity (15%)», that of tokens drawn with ``seed`` and masked together,
      as in training.
    - fill-mask and ``exact``: «pseudo-perplexity», each token masked alone (Salazar et al. 2020,
      «Masked Language Model Scoring», section 2.3, over all tokens). It takes one run a token.

    Agreement needs two models or more, and no labels. Over the same tokens:

    - «top-1 agreement»: per cent of the tokens where both expect the same token most.
    - «top-5 agreement»: per cent of the original's five likeliest tokens that are among the
      model's five.
    - «KL divergence»: of the model's distribution from the original's, in nats, the mean of
      sum p log(p / q); 0 for the same distribution.

    Args:
        models: models that share a tokenizer, the original first.
        text: any length.
        limit_tokens: tokens that are read from the start of ``text``; None for all.
        resamples: of the bootstrap, which draws windows.
        seed: of the masks and the bootstrap.
        progress: told of after each batch.
        exact: see above; without a meaning for text-generation.

    Raises:
        InputError: models of different vocabularies, or as
            :func:`runtime.evaluate.metrics.predictions.read`.
    """
    measures: list[Measure] = [Perplexity(metric_name(models, exact))]
    if len(models) > 1:
        measures.append(Agreement())
    return read(
        models,
        text,
        measures,
        limit_tokens=limit_tokens,
        resamples=resamples,
        seed=seed,
        progress=progress,
        exact=exact,
    )


class ByWindow:
    """Sums and counts of each window, by model."""

    def __init__(self) -> None:
        self._window: dict[str, list[Int64]] = defaultdict(list)
        self._values: dict[str, list[Float64]] = defaultdict(list)

    def add(self, model: str, window: Int64, values: Float64) -> None:
        """``values`` [n] of tokens from the windows of these numbers [n]."""
        self._window[model].append(window)
        self._values[model].append(values)

    @property
    def models(self) -> list[str]:
        """In the order they came."""
        return list(self._values)

    @property
    def count(self) -> int:
        """Windows."""
        every = (part for parts in self._window.values() for part in parts)
        return max((int(part.max()) + 1 for part in every), default=0)

    def mean(self, model: str) -> Metric:
        """The mean over all tokens of the chosen windows."""
        window = np.concatenate(self._window[model])
        counts = np.bincount(window)
        sums = np.bincount(window, np.concatenate(self._values[model]))

        def over(chosen: Indices) -> float:
            return float(sums[chosen].sum() / counts[chosen].sum())

        return over


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
            (f"top-{TOP} agreement", self._five, 100.0),
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


def metric_name(models: Sequence[EvaluatedModel], exact: bool) -> str:
    """What the perplexity of these models is called.

    Raises:
        InputError: no language models, or models of both kinds.
    """
    if not is_masked(models):
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


def _times(factor: float, mean: Metric) -> Metric:
    def over(chosen: Indices) -> float:
        return factor * mean(chosen)

    return over
