"""Which tokens a language or a text uses, and how often."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.panics import panics_raised

from ..sources.prior import corpus_counts
from .words import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_AT_ONCE = 20_000
# Lists hold lower case. How a text writes a word, and about how often.
_FORMS = (
    (" {}", str, 0.8),
    (" {}", str.capitalize, 0.12),
    ("{}", str, 0.04),  # behind a quotation mark or a bracket
    ("{}", str.capitalize, 0.03),
    (" {}", str.upper, 0.01),
)
# Of marks between words, which no list has: their share of a text's tokens, all of them together.
_MARKS = (" .", ".", ",", "?", "!", "-", ":", '"', "'", " (", ")")
_MARKS_SHARE = 0.12


def tokens_of_words(tokenizer: "Tokenizer", words: Words, rows: int) -> NDArray[np.float64]:
    """Share of each token in text of these words, float64 [rows], sum 1."""
    shares = np.zeros(rows)
    for form, case, weight in _FORMS:
        texts = [form.format(case(word)) for word in words.words]
        _count(tokenizer, texts, words.frequencies * weight, shares)
    shares *= (1 - _MARKS_SHARE) / shares.sum()
    marks = np.zeros(rows)
    _count(tokenizer, list(_MARKS), np.ones(len(_MARKS)), marks)
    return shares + _MARKS_SHARE * marks / marks.sum()


def tokens_of_text(tokenizer: Path, text: Path, rows: int) -> NDArray[np.float64]:
    """Share of each token in a text file, float64 [rows], sum 1.

    Raises:
        InputError: as :func:`exporters.sources.prior.corpus_counts`; a file without text gives 0.
    """
    counts = corpus_counts(tokenizer, text, rows, option="--vocabulary")
    return counts / max(counts.sum(), 1)


def _count(
    tokenizer: "Tokenizer",
    texts: list[str],
    weights: NDArray[np.float64],
    into: NDArray[np.float64],
) -> None:
    """Add the weight of each text to ``into`` at each of its tokens."""
    for start in range(0, len(texts), _AT_ONCE):
        with panics_raised():
            found = tokenizer.encode_batch(
                texts[start : start + _AT_ONCE], add_special_tokens=False
            )
        lengths = [len(each.ids) for each in found]
        ids = np.concatenate([np.array(each.ids, np.int64) for each in found])
        each = np.repeat(weights[start : start + _AT_ONCE], lengths)
        known = ids < len(into)
        np.add.at(into, ids[known], each[known])
