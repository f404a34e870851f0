"""What an evaluation says: figures with the interval that chance alone may move them in."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = 1  # of the JSON; raise it if readers could misread a newer one

ORIGINAL = "original"
"""Name of the uncompressed model, which every other one is compared with."""

Verdict = Literal["better", "worse", "noise"]


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 95% interval (bootstrap, percentiles).

    The ends are NaN where there is nothing to draw from: of a single example.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """By name; None for NaN and infinity, which JSON does not have."""
        return {name: v if math.isfinite(v) else None for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Figure:
    """One metric of one model.

    Attributes:
        measure: what was done, as the command's option is called: "pairs", "probe", "text", ...
        metric: "Spearman", "accuracy", "perplexity", ...; shares and correlations are times 100,
            cosines are not.
        model: ``ORIGINAL`` or the name of another.
        score: the metric.
        difference: the model's minus the original's over the same resamples; None for the original
            and for metrics that are themselves a comparison with it.
        higher_is_better: which way is good.
        count: examples that were resampled: pairs, texts, questions, windows of tokens.
    """

    measure: str
    metric: str
    model: str
    score: Interval
    difference: Interval | None
    higher_is_better: bool
    count: int

    @property
    def verdict(self) -> Verdict | None:
        """Whether the difference is more than noise: its interval leaves zero out.

        None where nothing is compared, or the interval is not known.
        """
        if self.difference is None or math.isnan(self.difference.low):
            return None
        low, high = self.difference.low, self.difference.high
        if not (low > 0 or high < 0):
            return "noise"
        return "better" if (low > 0) == self.higher_is_better else "worse"

    def to_dict(self) -> dict[str, Any]:
        """All of it by name, the verdict too."""
        return {
            "measure": self.measure,
            "metric": self.metric,
            "model": self.model,
            "score": self.score.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
            "verdict": self.verdict,
            "higher_is_better": self.higher_is_better,
            "count": self.count,
        }
