"""Words of a language and how often they are used, from the package ``wordfreq``."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.extras import require

# Words beyond these add tokens that hardly any text has: of English, a third more tokens for 0.3%
# of a text.
_MOST = 100_000
ALL = "all"
"""Stands for every language that has a list."""
_LISTS = "best"  # wordfreq's name for the larger of its two lists, where a language has both


@dataclass(frozen=True, eq=False)
class Words:
    """The most frequent words of a language, in lower case.

    Attributes:
        language: its code, such as ``de``.
        words: the most frequent first.
        frequencies: of each, float64, falling, sum 1.
    """

    language: str
    words: tuple[str, ...]
    frequencies: NDArray[np.float64]


def known_languages(languages: Sequence[str]) -> tuple[str, ...]:
    """The languages asked for, each of them where that is ``all``; () for none.

    Raises:
        InputError: no list has one of them.
        MissingDependencyError: wordfreq is not installed.
    """
    if not languages:
        return ()
    require("languages")
    known = _with_lists()
    if tuple(languages) == (ALL,):
        return known
    for language in languages:
        if language not in known:
            raise InputError(
                f"languages: there is no list of words for {language!r}; choose from "
                f"{', '.join(known)}, or give texts with --vocabulary FILE"
            )
    return tuple(languages)


def _with_lists() -> tuple[str, ...]:
    import wordfreq

    return tuple(sorted(wordfreq.available_languages(_LISTS)))


def words_of(language: str) -> Words:
    """The words of ``language``, one of :func:`known_languages`."""
    import wordfreq

    found = wordfreq.get_frequency_dict(language, _LISTS)
    words = sorted(found, key=lambda word: (-found[word], word))[:_MOST]
    frequencies = np.array([found[word] for word in words], np.float64)
    return Words(language, tuple(words), frequencies / frequencies.sum())
