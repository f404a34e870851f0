"""How a ColBERT model reads queries and documents: what PyLate, or colbert-ir, keeps beside it.

The exporter knows such a model by these files, and the runtime reads them in the bundle.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..json_files import read_json, to_dataclass
from .manifest import Pooling

COLBERT = "colbert"
"""The mode of :class:`Pooling` of such models: every token keeps a vector."""
TOKEN_VECTORS = "token_embeddings"
"""The output of the graphs that are made here of such models: projected, of unit length."""

PYLATE = "config_sentence_transformers.json"
PYLATE_ONNX = "onnx_config.json"  # of its exporter to ONNX
METADATA = "artifact.metadata"  # of colbert-ir
CONFIG = "config.json"
ARCHITECTURE = "HF_ColBERT"  # of colbert-ir, whose checkpoints hold the projection too
_MARKERS = {"query_prefix": "[unused0]", "document_prefix": "[unused1]"}
# colbert-ir's words for PyLate's.
_IN_METADATA = {
    "query_token_id": "query_prefix",
    "doc_token_id": "document_prefix",
    "query_maxlen": "query_length",
    "doc_maxlen": "document_length",
    "attend_to_mask_tokens": "attend_to_expansion_tokens",
}
_LENGTHS = {"query_length", "document_length"}  # which nothing else has
_LEAST_LENGTH = 2  # a marker and a token

Reader = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class TextSettings:
    """How texts become tokens, in PyLate's words and with its defaults.

    Attributes:
        query_prefix: the marker after a query's first token; "" for none.
        document_prefix: the same of documents.
        query_length: tokens of a query, its marker and special tokens included.
        document_length: the same of documents, at most.
        do_query_expansion: shorter queries are filled up with mask tokens, whose vectors count.
        attend_to_expansion_tokens: the query's own tokens attend to these.
        skiplist_words: tokens of documents whose vectors do not count.
        query_prefix_id: where it is told; else the tokenizer knows it.
        document_prefix_id: the same of documents.
        mask_token_id: the same of the token that queries are filled up with.
        prompts: texts that can stand before every text, by name.
        default_prompt_name: which of them does; None for none.
    """

    query_prefix: str = "[Q] "
    document_prefix: str = "[D] "
    query_length: int = 32
    document_length: int = 180
    do_query_expansion: bool = True
    attend_to_expansion_tokens: bool = False
    skiplist_words: tuple[str, ...] = tuple(string.punctuation)
    query_prefix_id: int | None = None
    document_prefix_id: int | None = None
    mask_token_id: int | None = None
    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None

    @property
    def prompt(self) -> str:
        """What stands before every text."""
        return (self.prompts or {}).get(self.default_prompt_name or "", "")


def keeps_token_vectors(pooling: Pooling | None) -> bool:
    """Whether texts are compared token by token, by MaxSim."""
    return pooling is not None and pooling.mode == COLBERT


def is_late_interaction(read: Reader) -> bool:
    """Whether the files that ``read`` gives the objects of are of such a model."""
    return _told(read) is not None


def text_settings(read: Reader, folder: Path) -> TextSettings:
    """What the files of ``folder`` say, PyLate's defaults where none says anything.

    ``read`` gives the object in a file of this name, {} where there is none.

    Raises:
        FormatError: a value of another kind, or a length that is too short.
    """
    name, told = _told(read) or (PYLATE, {})
    known = {key: value for key, value in told.items() if value is not None}
    try:
        found = to_dataclass(TextSettings, known, "settings")
    except FormatError as error:
        raise FormatError(f"{folder / name}: {error}; repair it") from error
    for what, length in (("query", found.query_length), ("document", found.document_length)):
        if length < _LEAST_LENGTH:
            raise FormatError(
                f"{folder / name}: {what}_length must be at least {_LEAST_LENGTH}, got {length}; "
                "repair it"
            )
    return found


def read_text_settings(folder: Path) -> TextSettings:
    """:func:`text_settings` of a model's folder or a bundle.

    Raises:
        FormatError: a damaged file too.
    """
    return text_settings(lambda name: read_json(folder / name), folder)


def _told(read: Reader) -> tuple[str, dict[str, Any]] | None:
    """The file that speaks of late interaction, and what it says in PyLate's words."""
    for name in (PYLATE, PYLATE_ONNX):
        found = read(name)
        if found.get("similarity_fn_name") == "MaxSim" or set(found) >= _LENGTHS:
            return name, found
    metadata = read(METADATA)
    if metadata:
        found = {word: metadata[key] for key, word in _IN_METADATA.items() if key in metadata}
        if metadata.get("mask_punctuation") is False:
            found["skiplist_words"] = []
        return METADATA, _MARKERS | found
    named = read(CONFIG).get("architectures")
    if isinstance(named, list) and ARCHITECTURE in named:
        return CONFIG, dict(_MARKERS)
    return None
