"""The next token from logits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError

_LIKELIEST = 512  # tokens that are sorted first where a nucleus is asked for


@dataclass(frozen=True)
class Sampling:
    """How a decoder chooses its tokens.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token (greedy).
        top_k: only so many of the likeliest are drawn from; 0 for all.
        top_p: only the likeliest that have this share of the probability together (nucleus
            sampling, Holtzman et al. 2020); 1 for all.
        seed: equal seeds draw equal texts.

    Raises:
        InputError: a value out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature must be at least 0, got {self.temperature:g}")
        if self.top_k < 0:
            raise InputError(f"top_k must be at least 0, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, got {self.seed}")


class Sampler:
    """Draws token after token."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: NDArray[np.floating]) -> int:
        """A token id for ``logits`` [V]."""
        options = self._sampling
        if options.temperature == 0:
            return int(logits.argmax())
        scores = logits.astype(np.float64) / options.temperature
        ids = np.arange(len(scores))
        if 0 < options.top_k < len(scores):
            ids = np.argpartition(-scores, options.top_k - 1)[: options.top_k]
        shares = np.exp(scores[ids] - scores.max())
        shares /= shares.sum()
        if options.top_p < 1:
            ids, shares = _nucleus(ids, shares, options.top_p)
        return int(self._random.choice(ids, p=shares / shares.sum()))


def _nucleus(
    ids: NDArray[np.int64], shares: NDArray[np.float64], wanted: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The fewest likeliest that have ``wanted`` of the shares together, sorted.

    Sorting a whole vocabulary takes longer than many a model; the nucleus is mostly small.
    """
    count = min(_LIKELIEST, len(shares))
    while True:
        some = np.argpartition(-shares, count - 1)[:count] if count < len(shares) else ...
        likeliest = np.arange(len(shares))[some]
        likeliest = likeliest[np.argsort(-shares[likeliest], kind="stable")]
        total = shares[likeliest].cumsum()
        if total[-1] >= wanted or count == len(shares):
            kept = likeliest[: int(np.searchsorted(total, wanted)) + 1]
            return ids[kept], shares[kept]
        count = min(8 * count, len(shares))
