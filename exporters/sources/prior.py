"""What a tokenizer knows about the frequency of its tokens, without any text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.allocate.importance import zipf_prior
from toolkit.bundle.generation import CONFIG, GENERATION_CONFIG, ids_of
from toolkit.errors import InputError
from toolkit.json_files import load_json, read_json
from toolkit.panics import panics_raised

from .library import open_library

# Rows that vocabularies keep in reserve: [unused12], <unused12>, <|reserved_special_token_3|>,
# <extra_id_7>, <madeupword0000>.
_RESERVED = re.compile(r"unused|reserved|extra_id|madeup|placeholder|<pad_?\d+>", re.IGNORECASE)
_RESERVED_SHARE = 0.01  # of the rarest real token: coded with what is left over, never dropped
# A special token frames every text, so as a rule it is the most frequent of all; but a vocabulary
# with hundreds of them (tool calls, languages) uses hardly any.
_SPECIAL_FACTOR = 50.0
_FEW_SPECIALS = 64
_FRAMING = ("bos_token_id", "eos_token_id", "decoder_start_token_id")
_CORPUS_BYTES = 1 << 20  # tokenized at a time
_PRIOR_SHARE = 0.2
HEAL_PRIOR_SHARE = 1.0  # a text to heal on is smaller, and stands for all that will be read
# A model is less moved by an error in a frequent token: its last hidden states by a fifth as much
# for all-MiniLM's two most frequent ones as for the mean token, by 3.7 times for the rarest.
HEAL_POWER = 0.8


def token_importance(tokenizer: Path | None, rows: int) -> NDArray[np.float64] | None:
    """Importance of each row from a ``tokenizer.json``, float64 [rows]; None where there is none.

    Unigram models store log-probabilities; WordPiece and BPE vocabularies stand in order of
    frequency. Special tokens come first, of many those that begin or end texts, and reserved
    names and rows without a token last.

    Raises:
        InputError: the file is damaged.
    """
    if tokenizer is None or not tokenizer.is_file():
        return None
    try:
        data = load_json(tokenizer)
        model, added = data.get("model", {}), data.get("added_tokens", [])
        scores = _scores(model)
        special = {int(token["id"]) for token in added if token.get("special")}
        names = {int(token["id"]): str(token["content"]) for token in added} | _names(model)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InputError(f"{tokenizer} is damaged ({error}); download the model again") from error
    ids = np.array([id_ for id_ in sorted(names) if id_ < rows], dtype=np.int64)
    real = np.array([id_ for id_ in ids if not is_reserved(names[id_])], dtype=np.int64)
    if not real.size:
        return None
    if scores:  # tokens that were added later have no score and count as the rarest
        lowest = min(scores.values())
        real = real[np.argsort([-scores.get(id_, lowest) for id_ in real], kind="stable")]
    weights = np.zeros(rows)
    weights[real] = zipf_prior(len(real))
    weights[weights == 0] = weights[real].min() * _RESERVED_SHARE
    frames = [id_ for id_ in real if id_ in special]
    most = weights.max()
    weights[frames] = most * (_SPECIAL_FACTOR if len(frames) <= _FEW_SPECIALS else 1.0)
    framing = [id_ for id_ in framing_tokens(tokenizer.parent) if id_ < rows]
    weights[framing] = most * _SPECIAL_FACTOR
    return weights


def is_reserved(token: str) -> bool:
    """Whether a token's name says that a vocabulary keeps it in reserve."""
    return _RESERVED.search(token) is not None


def framing_tokens(folder: Path) -> list[int]:
    """Ids that begin or end what a model writes, as its config files name them.

    Raises:
        InputError: a file is damaged.
    """
    found: list[int] = []
    for name in (GENERATION_CONFIG, CONFIG):
        told = read_json(folder / name, error=InputError, remedy="download the model again")
        for key in _FRAMING:
            found += ids_of(told.get(key))
    return sorted({id_ for id_ in found if id_ >= 0})


def special_tokens(tokenizer: Path) -> list[int]:
    """Ids of the special tokens in a ``tokenizer.json``, reserved ones left out.

    Empty where there are too many for each to be used, and where there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not tokenizer.is_file():
        return []
    try:
        added = load_json(tokenizer).get("added_tokens") or []
        found = [
            int(token["id"])
            for token in added
            if token.get("special") and not is_reserved(str(token["content"]))
        ]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{tokenizer} is damaged ({error}); download the model again") from error
    return found if len(found) <= _FEW_SPECIALS else []


def corpus_importance(
    tokenizer: Path,
    corpus: Path,
    rows: int,
    prior: NDArray[np.float64] | None,
    prior_share: float = _PRIOR_SHARE,
) -> NDArray[np.float64]:
    """Importance from counts in a text file, one text a line, over the prior; float64 [rows].

    The prior weighs as much as ``prior_share`` of the counted tokens: it ranks what the text has
    not.

    Raises:
        InputError: no tokenizer.json, no such file, a file that is no UTF-8 text, or an empty one.
    """
    counts = corpus_counts(tokenizer, corpus, rows)
    if not counts.any():
        raise InputError(f"{corpus} holds no text; give one text a line")
    base = zipf_prior(rows) if prior is None else prior / prior.sum()
    return counts + prior_share * counts.sum() * base


def corpus_counts(
    tokenizer: Path, corpus: Path, rows: int, *, option: str = "--corpus"
) -> NDArray[np.float64]:
    """How often each token is in a text file, float64 [rows].

    ``option``: what asked for the text, for errors.

    Raises:
        InputError: as :func:`corpus_lines`.
    """
    counts = np.zeros(rows)
    for ids in corpus_lines(tokenizer, corpus, option=option):
        np.add.at(counts, ids[ids < rows], 1)
    return counts


def importance_of(
    tokenizer: Path,
    rows: int,
    corpus: Path | None,
    heal: Path | None = None,
    *,
    shares: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Importance of each row: what the tokenizer knows, and counts where there is a text.

    Counts in a text to heal on are mixed with as much of the tokenizer's prior, and flattened: see
    ``HEAL_POWER``. ``shares`` of each token in text of the languages that a vocabulary was cut to,
    float64 [rows], sum 1, are mixed in the same way.
    """
    prior = token_importance(tokenizer, rows)
    if shares is not None:
        order = zipf_prior(rows) if prior is None else prior / prior.sum()
        prior = (shares + order) / 2
    if corpus is not None:
        return corpus_importance(tokenizer, corpus, rows, prior)
    if heal is not None:
        return corpus_importance(tokenizer, heal, rows, prior, HEAL_PRIOR_SHARE) ** HEAL_POWER
    return prior if shares is None or prior is None else prior**HEAL_POWER


def corpus_ids(
    tokenizer: Path, corpus: Path, rows: int, count: int, *, option: str = "--corpus"
) -> NDArray[np.int64]:
    """At most ``count`` token ids from the beginning of a text file, int64, as they follow.

    ``option``: what asked for the text, for errors.

    Raises:
        InputError: as ``corpus_importance``.
    """
    found: list[NDArray[np.int64]] = []
    held = 0
    for ids in corpus_lines(tokenizer, corpus, option=option):
        found.append(ids[ids < rows])
        held += len(found[-1])
        if held >= count:
            break
    return np.concatenate(found or [np.empty(0, np.int64)])[:count]


def corpus_lines(
    tokenizer: Path, corpus: Path, *, option: str = "--corpus", length: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Token ids of each line that is not blank, int64, special tokens included.

    Args:
        tokenizer: a tokenizer.json.
        corpus: a UTF-8 text file.
        option: what asked for the text, for errors.
        length: tokens that a line is cut to; None for no limit.

    Raises:
        InputError: no tokenizer.json, no such file, or a file that is no UTF-8 text.
    """
    if not tokenizer.is_file():
        raise InputError(f"{tokenizer} is not here, and {option} needs it; give a model with one")
    if not corpus.is_file():
        raise InputError(f"{corpus} is not here; give a text file")
    encoder = open_library(tokenizer)
    if length is not None:
        encoder.enable_truncation(length)
    try:
        with corpus.open(encoding="utf-8-sig", newline="\n") as file:  # see toolkit.lines
            while lines := file.readlines(_CORPUS_BYTES):
                texts = [text for line in lines if (text := line.strip())]
                with panics_raised():
                    encodings = encoder.encode_batch(texts)
                for encoding in encodings:
                    yield np.array(encoding.ids, dtype=np.int64)
    except RuntimeError as error:
        raise InputError(
            f"{tokenizer} cannot split {corpus} ({error}); download the model again"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{corpus} is no UTF-8 text ({error.reason}); convert it") from error


def _names(model: dict[str, Any]) -> dict[int, str]:
    """id -> token, of a vocabulary stored as a map (WordPiece, BPE) or a list (Unigram)."""
    vocab = model.get("vocab", {})
    if isinstance(vocab, list):
        return {id_: str(entry[0]) for id_, entry in enumerate(vocab)}
    return {int(id_): str(token) for token, id_ in vocab.items()}


def _scores(model: dict[str, Any]) -> dict[int, float]:
    """id -> log-probability; empty for vocabularies that store none."""
    vocab = model.get("vocab", {})
    if not isinstance(vocab, list):
        return {}
    return {id_: float(entry[1]) for id_, entry in enumerate(vocab)}
