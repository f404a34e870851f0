"""Which tokens stay in a vocabulary that is cut to some languages or to the texts of a file."""

import itertools
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.json_files import load_json
from toolkit.panics import panics_raised

from ..sources.folder_files import TOKENIZER
from ..sources.library import open_library
from ..sources.prior import is_reserved
from .parts import Vocabulary, ids_named, read_vocabulary, with_fewer, with_parts
from .used import tokens_of_text, tokens_of_words
from .words import Words, known_languages, words_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT = "text"
"""What a file's texts are called among the languages."""
# Written without spaces, so that a token may hold several words, or the end of one and the
# beginning of the next.
_UNSPACED = ("HIRAGANA", "KATAKANA", "CJK UNIFIED", "THAI", "LAO", "KHMER", "MYANMAR")
_SAME = 0.995  # of the words, by frequency, have to be split as they were
_FEW_RESERVED = 128  # added tokens kept in reserve that stay: T5's are in its settings too
_LINES = 2000  # of a text that are compared
_WORDS = 20_000  # of a language likewise, which are nine tenths of its text and more


@dataclass(frozen=True)
class Wanted:
    """What a vocabulary is cut to.

    Attributes:
        languages: codes, such as ``de``, or ``all``; () for none.
        text: a file whose tokens stay.
        also: ids of tokens that have to stay for other reasons.
        like: a ``tokenizer.json`` whose tokens alone stay, in place of all of these.
    """

    languages: tuple[str, ...] = ()
    text: Path | None = None
    also: frozenset[int] = frozenset()
    like: Path | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """The tokens that stay.

    Attributes:
        kept: their ids in the whole vocabulary, int64 [n], rising.
        shares: of text in each language each of them is so much, float64 [n]; by language.
        by_language: number of tokens that each language needs for itself.
        alone: of these, those that would go if that language were left out.
        data: the JSON of the tokenizer with these tokens alone.
    """

    kept: NDArray[np.int64]
    shares: Mapping[str, NDArray[np.float64]]
    by_language: Mapping[str, int]
    alone: Mapping[str, int]
    data: dict[str, Any] = field(repr=False)

    @property
    def importance(self) -> NDArray[np.float64]:
        """Of each token that stays, float64 [n]: its mean share over all languages; alike where
        none are told."""
        if not self.shares:
            return np.full(len(self.kept), 1 / len(self.kept))
        return np.mean(list(self.shares.values()), axis=0)


def choose_tokens(folder: Path, wanted: Wanted) -> Choice:
    """Choose by the ``tokenizer.json`` of ``folder``.

    What stays: tokens that the words of a language, or a text, are split into; those that write its
    letters one by one; special tokens, bytes, digits and punctuation. Of languages that put no
    spaces between words: every token in their letters.

    Raises:
        InputError: no such file, a language without a list, or a tokenizer that would split words
            in another way afterwards.
        MissingDependencyError: languages, and wordfreq is not installed.
    """
    languages = known_languages(wanted.languages)
    path = folder / TOKENIZER
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {TOKENIZER}, which languages and vocabulary rewrite; save one with "
            "transformers' AutoTokenizer"
        )
    try:
        data = load_json(path)
        vocabulary = read_vocabulary(data)
        needed = ids_named(data)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InputError(f"{path} is damaged ({error}); download the model again") from error
    if wanted.like is not None:
        kept = _as_in(wanted.like, vocabulary, path)
        return Choice(kept, {}, {}, {}, with_fewer(data, kept))
    tokenizer = open_library(path, tokenizer_text(data))
    names = vocabulary.named()
    rows = max(names) + 1
    counts = {}
    needs: dict[str, set[int]] = {}
    lists = [words_of(language) for language in languages]
    for words in lists:
        counts[words.language] = tokens_of_words(tokenizer, words, rows)
        needs[words.language] = _of_language(vocabulary, counts[words.language], words)
    if wanted.text is not None:
        counts[TEXT] = tokens_of_text(path, wanted.text, rows)
        needs[TEXT] = set(np.flatnonzero(counts[TEXT]).tolist())
    always = {*needed, *wanted.also, *_always(vocabulary)}
    letters = {
        letter
        for ids in needs.values()
        for id_ in ids
        for letter in vocabulary.text_of(names.get(id_, ""))
    }
    always.update(_letters(vocabulary, letters))
    tokens = {id_ for ids in needs.values() for id_ in ids} | always
    of_model = with_parts(data, (tokens & vocabulary.tokens.keys()) - vocabulary.added.keys())
    kept = np.array(sorted((tokens | of_model) & names.keys()), np.int64)
    fewer = with_fewer(data, kept)
    _check_same(
        tokenizer,
        open_library(path, tokenizer_text(fewer)),
        kept,
        _compared(lists, wanted.text),
        folder,
    )
    return Choice(
        kept,
        {language: shares[kept] for language, shares in counts.items()},
        {language: len(ids | always) for language, ids in needs.items()},
        {language: len(ids - _others(needs, language) - always) for language, ids in needs.items()},
        fewer,
    )


def _others(needs: Mapping[str, set[int]], language: str) -> set[int]:
    """What the other languages need."""
    return {id_ for other, ids in needs.items() if other != language for id_ in ids}


def _as_in(like: Path, vocabulary: Vocabulary, path: Path) -> NDArray[np.int64]:
    """Ids of the tokens that another tokenizer has, in its order.

    Raises:
        InputError: it has others, or in another order.
    """
    try:
        tokens = read_vocabulary(load_json(like)).named()
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OSError) as error:
        raise InputError(f"{like} is damaged ({error}); export the bundle again") from error
    ids = {token: id_ for id_, token in vocabulary.named().items()}
    kept = [ids.get(tokens[id_], -1) for id_ in sorted(tokens)]
    if not kept or min(kept) < 0 or kept != sorted(kept):
        raise InputError(
            f"{like} was not cut from the vocabulary in {path}; give the model that the bundle was "
            "made from"
        )
    return np.array(kept, np.int64)


def tokenizer_text(data: dict[str, Any]) -> str:
    """A ``tokenizer.json``."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def _of_language(vocabulary: Vocabulary, counts: NDArray[np.float64], words: Words) -> set[int]:
    """Tokens that its words are split into, whole words however they are written, and, where no
    spaces are written, everything in its letters."""
    found = set(np.flatnonzero(counts).tolist())
    whole = set(words.words)
    unspaced = {letter for word in words.words for letter in word if _is_unspaced(letter)}
    for id_, token in vocabulary.tokens.items():
        text = vocabulary.text_of(token)
        if text.casefold() in whole or (unspaced and text and set(text) <= unspaced):
            found.add(id_)
    return found


def _always(vocabulary: Vocabulary) -> Iterator[int]:
    """Added tokens that are not kept in reserve, bytes, digits and punctuation."""
    reserved = {id_ for id_, token in vocabulary.added.items() if is_reserved(token)}
    yield from vocabulary.added.keys() - (reserved if len(reserved) > _FEW_RESERVED else set())
    for id_, token in vocabulary.tokens.items():
        if id_ in vocabulary.added:
            continue
        one_byte = vocabulary.byte_level and len(token) == 1
        named_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        if one_byte or named_byte or _is_mark(vocabulary.text_of(token)):
            yield id_


def _is_mark(text: str) -> bool:
    """Digits and punctuation that all languages share; no letters, and no digits of one script."""
    kinds = [(unicodedata.category(letter)[0], letter) for letter in text]
    return bool(kinds) and not any(
        kind in "LMC" or (kind == "N" and not letter.isascii()) for kind, letter in kinds
    )


def _letters(vocabulary: Vocabulary, letters: set[str]) -> Iterator[int]:
    """Tokens of one of these letters or of one in ASCII: what is no known word is written so."""
    for id_, token in vocabulary.tokens.items():
        text = vocabulary.text_of(token)
        if len(text) == 1 and (text in letters or text.isascii()):
            yield id_


def _is_unspaced(letter: str) -> bool:
    return not letter.isascii() and unicodedata.name(letter, "").startswith(_UNSPACED)


def _check_same(
    before: "Tokenizer",
    after: "Tokenizer",
    kept: NDArray[np.int64],
    texts: Mapping[str, tuple[Sequence[str], NDArray[np.float64]]],
    folder: Path,
) -> None:
    """Refuse a tokenizer that splits many of ``texts``, which weigh so much, in another way."""
    for name, (lines, weights) in texts.items():
        with panics_raised():
            old, new = before.encode_batch(list(lines)), after.encode_batch(list(lines))
        same = [
            len(one.ids) == len(other.ids) and one.ids == kept[other.ids].tolist()
            for one, other in zip(old, new, strict=True)
        ]
        share = float(weights[same].sum() / max(weights.sum(), 1e-30))
        if share < _SAME:
            raise InputError(
                f"the tokenizer of {folder.name} splits {1 - share:.1%} of {name} in another way "
                "when the other languages' tokens are gone; leave --languages and --vocabulary out"
            )


def _compared(
    lists: Sequence[Words], text: Path | None
) -> dict[str, tuple[Sequence[str], NDArray[np.float64]]]:
    """What has to be split as before, and how much each line weighs."""
    found: dict[str, tuple[Sequence[str], NDArray[np.float64]]] = {}
    for words in lists:
        compared = (words.words[:_WORDS], words.frequencies[:_WORDS])
        found[f"the words of {words.language!r}"] = compared
    if text is not None:
        with text.open(encoding="utf-8-sig", newline="\n") as file:
            lines = [line.strip() for line in itertools.islice(file, _LINES)]
        found[text.name] = (lines, np.array([float(len(line)) for line in lines]))
    return found
