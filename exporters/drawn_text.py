"""Texts for an encoder, which writes none: tokens drawn one by one, as often as text has them.

No order of words is in them. How errors in a row move what a model makes of it hardly depends on
that: docs/training.md says what is gained on real sentences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.panics import panics_raised

from .sources.library import open_library
from .sources.prior import is_reserved

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DRAWN = 8000
"""Texts that are drawn."""
_SHORTEST, _LONGEST = 4, 40  # tokens


@dataclass(frozen=True, eq=False)
class Urn:
    """What texts are drawn from.

    Attributes:
        shares: how often each token is drawn, float64 [rows], summing up to 1.
        before: ids that the tokenizer puts before a text.
        after: and behind it.
    """

    shares: NDArray[np.float64]
    before: tuple[int, ...]
    after: tuple[int, ...]


def urn_of(tokenizer: Path, shares: NDArray[np.float64]) -> Urn:
    """The tokens that text is made of: special and reserved ones are never drawn.

    Args:
        tokenizer: a ``tokenizer.json``.
        shares: how often each token is, float64 [rows].

    Raises:
        InputError: no such file, one that is damaged, or no token with a share.
    """
    library = open_library(tokenizer)
    rows = min(len(shares), library.get_vocab_size())
    wanted = shares[:rows].copy()
    names = library.get_vocab(with_added_tokens=True)
    never = {id_ for name, id_ in names.items() if is_reserved(name)}
    never.update(library.get_added_tokens_decoder())
    wanted[[id_ for id_ in never if id_ < rows]] = 0
    if not wanted.sum() > 0:
        raise InputError(f"{tokenizer} has no token to draw texts of; give a text file")
    return Urn(wanted / wanted.sum(), *_around(library, int(wanted.argmax())))


def drawn_texts(
    tokenizer: Path, shares: NDArray[np.float64], *, longest: int, seed: int
) -> list[list[int]]:
    """Token ids of :data:`DRAWN` texts, what the tokenizer puts around a text included.

    Args:
        tokenizer: a ``tokenizer.json``.
        shares: how often each token is, float64 [rows]; special tokens are never drawn.
        longest: tokens of a text, at most.
        seed: of the draws.

    Raises:
        InputError: no such file, one that is damaged, or no token with a share.
    """
    urn = urn_of(tokenizer, shares)
    before, after, rows = urn.before, urn.after, len(urn.shares)
    rng = np.random.default_rng(seed)
    room = max(1, min(longest, _LONGEST) - len(before) - len(after))
    lengths = rng.integers(min(_SHORTEST, room), room + 1, DRAWN)
    ids = rng.choice(rows, size=int(lengths.sum()), p=urn.shares)
    texts = np.split(ids, np.cumsum(lengths)[:-1])
    return [[*before, *text.tolist(), *after] for text in texts]


def _around(library: "Tokenizer", id_: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that a tokenizer puts before a text and behind it, told by a text of this one token."""
    with panics_raised():
        found = library.encode(library.decode([id_]) or "a")
    own = [at for at, part in enumerate(found.sequence_ids) if part is not None]
    if not own:
        return (), ()
    return tuple(found.ids[: own[0]]), tuple(found.ids[own[-1] + 1 :])
