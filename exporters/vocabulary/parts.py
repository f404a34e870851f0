"""What a ``tokenizer.json`` holds, by the ids of its tokens, and the same with fewer of them.

The format is that of Hugging Face's library ``tokenizers``. Unigram, WordPiece, WordLevel and BPE
are known. In each of them a text all of whose tokens stay is split as it was:

- Unigram takes the likeliest split. With fewer pieces it is the likeliest all the more.
- WordPiece takes the longest token that fits, from the left.
- BPE merges pairs in a fixed order, and what is merged inside a token does not depend on what is
  around it. So the merges that lead to a token stay with it (:func:`with_parts`).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError

KINDS = ("Unigram", "WordPiece", "WordLevel", "BPE")
_SPACE = "\u2581"  # of sentencepiece
_MOST_GAPS = 16  # ids to each token
_END = "</w>"


def _letters_of_bytes() -> dict[str, int]:
    """The letter that stands for each byte in byte-level BPE (Radford et al. 2019): printable ones
    for themselves, the others are 256 and up in their order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


_BYTES = _letters_of_bytes()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a ``tokenizer.json``.

    Attributes:
        kind: of ``KINDS``.
        tokens: of the model, by id.
        added: those beside it, special tokens among them, by id.
        byte_level: a token's letters stand for bytes.
    """

    kind: str
    tokens: dict[int, str]
    added: dict[int, str]
    byte_level: bool

    def named(self) -> dict[int, str]:
        """All tokens by id."""
        return self.tokens | self.added

    def text_of(self, token: str) -> str:
        """What a token writes, without the space before it; "" for a part of a letter."""
        if self.byte_level:
            codes = bytes(_BYTES[letter] for letter in token if letter in _BYTES)
            try:
                return codes.decode().strip() or token.strip("\u0120")
            except UnicodeDecodeError:
                return ""
        bare = token.removeprefix("##") if self.kind == "WordPiece" else token.strip(_SPACE)
        return bare.removesuffix(_END) or token


def read_vocabulary(data: dict[str, Any]) -> Vocabulary:
    """The tokens in the JSON of a ``tokenizer.json``.

    Raises:
        InputError: a kind of tokenizer that is not known here.
        KeyError, TypeError, ValueError, AttributeError: a damaged file.
    """
    _check(data)
    model, added = data["model"], data.get("added_tokens") or []
    kind = model.get("type") or ("Unigram" if isinstance(model.get("vocab"), list) else None)
    if kind not in KINDS:
        raise InputError(
            f"a tokenizer of the kind {kind!r} cannot be cut to some languages (known are "
            f"{', '.join(KINDS)}); leave --languages and --vocabulary out"
        )
    return Vocabulary(
        kind,
        dict(_pieces(model)),
        {each["id"]: each["content"] for each in added},
        kind == "BPE" and "ByteLevel" in _types(data),
    )


def _check(data: dict[str, Any]) -> None:
    """What a file of anyone may have wrong and the library ``tokenizers`` is not asked about."""
    model, added = data["model"], data.get("added_tokens") or []
    named = [*_pieces(model), *((each["id"], each["content"]) for each in added)]
    if not all(isinstance(id_, int) and isinstance(token, str) for id_, token in named):
        raise ValueError("a token that is no text, or an id that is no number")
    ids = {id_ for id_, _ in named}
    if not ids or min(ids) < 0 or max(ids) > _MOST_GAPS * len(ids):
        raise ValueError("ids that no table has rows for")
    if "merges" in model:
        if isinstance(model["vocab"], list):
            raise ValueError("merges beside scores")
        for pair in _merges(model):
            if not all(isinstance(part, str) for part in pair):
                raise ValueError("a merge of what is no text")


def with_parts(data: dict[str, Any], kept: Iterable[int]) -> set[int]:
    """``kept``, and of BPE all tokens that the merges to these go through."""
    found = set(kept)
    model = data["model"]
    if "merges" not in model:
        return found
    names = dict(_pieces(model))
    ids = model["vocab"]
    ranks = {pair: rank for rank, pair in enumerate(_merges(model))}
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    ways: dict[str, tuple[str, str]] = {}
    for pair in ranks:  # the first pair that makes a token, for those that are split otherwise
        ways.setdefault(_joined(pair, prefix), pair)
    open_ = [names[id_] for id_ in found if id_ in names]
    while open_:
        token = open_.pop()
        met = _merged(token, ranks, prefix, suffix)
        if token not in met:  # no sequence of merges leads there
            met = set(ways.get(token, ()))
        for part in met:
            id_ = ids.get(part)
            if id_ is not None and id_ not in found:
                found.add(id_)
                open_.append(part)
    return found


def with_fewer(data: dict[str, Any], kept: NDArray[np.int64]) -> dict[str, Any]:
    """The JSON of a tokenizer with the tokens ``kept`` alone, int64 [n], rising: their new order.

    Raises:
        InputError: it names a token that is not among them.
    """
    places = {int(old): new for new, old in enumerate(kept)}
    model = dict(data["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = [model["vocab"][old] for old in places if old < len(model["vocab"])]
        if model.get("unk_id") is not None:
            model["unk_id"] = _place(int(model["unk_id"]), places)
    else:
        here = {token: places[id_] for token, id_ in model["vocab"].items() if id_ in places}
        model["vocab"] = here
        if "merges" in model:
            prefix = model.get("continuing_subword_prefix") or ""
            model["merges"] = [
                list(pair)
                for pair in _merges(data["model"])
                if pair[0] in here and pair[1] in here and _joined(pair, prefix) in here
            ]
    added = [
        each | {"id": places[int(each["id"])]}
        for each in data.get("added_tokens") or []
        if int(each["id"]) in places
    ]
    found = data | {"model": model, "added_tokens": added}
    found["post_processor"] = _renumbered(
        data.get("post_processor"), lambda id_: _place(id_, places)
    )
    padding = data.get("padding")
    if isinstance(padding, dict) and "pad_id" in padding:
        found["padding"] = padding | {"pad_id": _place(int(padding["pad_id"]), places)}
    return found


def ids_named(data: dict[str, Any]) -> set[int]:
    """Ids that a tokenizer puts around a text, fills it with, or takes for what is unknown."""
    found: set[int] = set()

    def note(id_: int) -> int:
        found.add(id_)
        return id_

    _renumbered(data.get("post_processor"), note)
    model, padding = data["model"], data.get("padding")
    if isinstance(padding, dict) and "pad_id" in padding:
        found.add(int(padding["pad_id"]))
    if model.get("unk_id") is not None:
        found.add(int(model["unk_id"]))
    unknown, vocab = model.get("unk_token"), model.get("vocab")
    if isinstance(vocab, dict) and unknown in vocab:
        found.add(int(vocab[unknown]))
    return found


def _pieces(model: dict[str, Any]) -> Iterator[tuple[int, str]]:
    vocab = model["vocab"]
    if isinstance(vocab, list):
        yield from ((id_, entry[0]) for id_, entry in enumerate(vocab))
    else:
        yield from ((int(id_), token) for token, id_ in vocab.items())


def _merges(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs in their order; older files write them with a space between."""
    for pair in model["merges"]:
        left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
        yield left, right


def _joined(pair: tuple[str, str], prefix: str) -> str:
    return pair[0] + pair[1].removeprefix(prefix)


def _merged(token: str, ranks: dict[tuple[str, str], int], prefix: str, suffix: str) -> set[str]:
    """All that is met while the letters of ``token`` are merged."""
    ends = bool(suffix) and token.endswith(suffix)
    letters = token.removeprefix(prefix).removesuffix(suffix if ends else "")
    first = prefix if prefix and token.startswith(prefix) else ""
    parts = [(prefix if at else first) + letter for at, letter in enumerate(letters)]
    if ends and parts:
        parts[-1] += suffix
    met = set(parts)
    while len(parts) > 1:
        pairs = list(itertools.pairwise(parts))
        rank, at = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairs))
        if rank == len(ranks):
            break
        parts[at : at + 2] = [_joined(pairs[at], prefix)]
        met.add(parts[at])
    return met


def _types(data: Any) -> Iterator[str]:
    """Names of all steps of a tokenizer, nested ones too."""
    if isinstance(data, dict):
        if isinstance(data.get("type"), str):
            yield data["type"]
        for key, value in data.items():
            if key not in ("model", "added_tokens"):
                yield from _types(value)
    elif isinstance(data, list):
        for each in data:
            yield from _types(each)


_PAIRS = ("sep", "cls")  # [token, id] of BertProcessing and RobertaProcessing


def _renumbered(data: Any, new: Callable[[int], int]) -> Any:
    """A step of a tokenizer with ``new`` of each id that it puts around a text."""
    if isinstance(data, dict):
        found = {}
        for key, value in data.items():
            if key == "ids" and isinstance(value, list):
                found[key] = [new(int(id_)) for id_ in value]
            elif key in _PAIRS and isinstance(value, list):
                found[key] = [value[0], new(int(value[1]))]
            else:
                found[key] = _renumbered(value, new)
        return found
    return [_renumbered(each, new) for each in data] if isinstance(data, list) else data


def _place(old: int, places: dict[int, int]) -> int:
    if old not in places:
        raise InputError(
            f"the tokenizer needs token {old}, which is not in its vocabulary; download the model "
            "again"
        )
    return places[old]
