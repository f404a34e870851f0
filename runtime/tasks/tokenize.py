"""Text to token ids, with the tokenizer files of a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest
from toolkit.errors import FormatError, InputError, MissingDependencyError
from toolkit.json_files import read_json
from toolkit.loaders import check_tokenizer
from toolkit.ort import one_line
from toolkit.panics import panics_raised

from .tokens import Text, Tokens, Window, cut_windows

__all__ = ["Backend", "Text", "Tokenizer", "Tokens", "Window", "open_tokenizer"]

Int64 = NDArray[np.int64]

_READS_PADDING = "siglip"  # how the model types of such families begin
_SETTINGS = ("config.json", "tokenizer_config.json")  # which say whose tokenizer it is


class Backend(Protocol):
    """What this module needs from a tokenizer library."""

    def split(self, texts: Sequence[Text], max_length: int | None) -> list[Tokens]:
        """Tokens of each text, cut to ``max_length``, not padded."""

    def windows(self, text: Text, max_length: int | None, overlap: int) -> list[Window]:
        """As :func:`runtime.tasks.tokens.cut_windows`."""

    def token_id(self, token: str) -> int | None:
        """Id of a token in the vocabulary, None if there is none."""

    def text_of(self, token_id: int) -> str:
        """A token as text."""

    def bare(self, text: str) -> list[int]:
        """Token ids of all of a text, without the special tokens that frame texts."""

    def stream(self) -> Callable[[int], str]:
        """A decoder of one token after another: the text that each one completes, or nothing."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Texts to padded arrays.

    Attributes:
        max_length: tokens that a text is cut to; None for no limit.
        pad_id: id that fills the right side of shorter texts.
        mask_token: the token that a masked language model fills, None if there is none.
        reads_padding: all texts are filled up to ``max_length`` and their padding counts as text,
            as SigLIP's models are trained.
    """

    backend: Backend
    max_length: int | None
    pad_id: int
    mask_token: str | None
    reads_padding: bool = False

    def split(self, texts: Sequence[Text]) -> list[Tokens]:
        """Tokens of each text, cut to ``max_length``, not padded.

        Raises:
            InputError: something that is no text, or no room for the special tokens.
        """
        rows = self.backend.split(texts, self.max_length) if texts else []
        longest = max(map(len, rows), default=0)
        if self.max_length is not None and longest > self.max_length:
            raise InputError(
                f"max_length {self.max_length} has no room for the tokenizer's special tokens; "
                f"give at least {longest}"
            )
        return rows

    def windows(self, text: Text, overlap: int = 0) -> list[Window]:
        """All of ``text`` in windows of at most ``max_length`` tokens, special ones in each.

        Of a pair only the second text is cut. Neighbours share ``overlap`` tokens of the text, or
        half of the window's room if that is less.

        Raises:
            InputError: something that is no text, no room for it beside the special tokens and the
                first text of a pair, or a tokenizer that does not tell where its tokens are from.
        """
        return self.backend.windows(text, self.max_length, overlap)

    def pad(self, rows: Sequence[Tokens], length: int | None = None) -> dict[str, Int64]:
        """``input_ids``, ``attention_mask`` and ``token_type_ids``, each int64 [n, length].

        ``length`` is that of the longest row, at least 1, unless given.
        """
        if length is None and self.reads_padding:
            length = self.max_length
        if length is None:
            length = max([1, *map(len, rows)])
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row.ids
            mask[index, : None if self.reads_padding else len(row)] = 1
            types[index, : len(row)] = row.types
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def encode(self, texts: Sequence[Text]) -> dict[str, Int64]:
        """:meth:`split`, then :meth:`pad`."""
        return self.pad(self.split(texts))

    @property
    def mask_id(self) -> int | None:
        """Id of ``mask_token``."""
        return None if self.mask_token is None else self.backend.token_id(self.mask_token)


def open_tokenizer(folder: str | Path, max_length: int | None = None) -> Tokenizer:
    """Open the tokenizer in ``folder``: a bundle, or any folder with tokenizer files.

    ``max_length`` None takes a bundle's own limit.

    Raises:
        InputError: no such folder, or no tokenizer in it.
        FormatError: damaged tokenizer files.
        MissingDependencyError: the files need transformers, which is not here.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with tokenizer files")
    if max_length is None and (folder / MANIFEST_NAME).is_file():
        max_length = read_manifest(folder).max_length
    if max_length is not None and max_length < 1:
        raise InputError(f"max_length must be at least 1, got {max_length}")
    fast = folder / "tokenizer.json"
    backend: Backend = _Fast(fast) if fast.is_file() else _Slow(folder)
    pad = special_token(folder, "pad_token")
    pad_id = backend.token_id(pad) if pad is not None else None
    config = read_json(folder / "config.json")
    if pad_id is None:
        pad_id = config.get("pad_token_id")
    return Tokenizer(
        backend,
        max_length,
        pad_id if isinstance(pad_id, int) else 0,
        special_token(folder, "mask_token"),
        str(config.get("model_type")).startswith(_READS_PADDING),
    )


def special_token(folder: Path, role: str) -> str | None:
    """The token that a folder's files name for ``role``, such as ``mask_token``."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        token = read_json(folder / name).get(role)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
    return None


class _Fast:
    """``tokenizer.json``, read by the tokenizers library alone."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Library  # type: ignore[import-untyped,unused-ignore]

        try:
            with panics_raised():
                self._library = Library.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise FormatError(f"{path} is damaged ({one_line(error)}); copy it again") from error
        self._library.no_padding()  # the file may ask for padding to a fixed length

    def split(self, texts: Sequence[Text], max_length: int | None) -> list[Tokens]:
        if max_length is None:
            self._library.no_truncation()
        else:
            self._library.enable_truncation(max_length)
        try:
            with panics_raised():
                rows = self._library.encode_batch(list(texts))
        except Exception as error:  # the library raises bare Exception
            raise InputError(
                f"the tokenizer refuses these texts ({one_line(error)}); give strings"
            ) from error
        return [Tokens(tuple(row.ids), tuple(row.type_ids)) for row in rows]

    def windows(self, text: Text, max_length: int | None, overlap: int) -> list[Window]:
        try:
            with panics_raised():
                return cut_windows(self._library, text, max_length, overlap)
        except InputError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise InputError(
                f"the tokenizer refuses this text ({one_line(error)}); give a string"
            ) from error

    def token_id(self, token: str) -> int | None:
        return self._library.token_to_id(token)

    def text_of(self, token_id: int) -> str:
        with panics_raised():
            text = self._library.decode([token_id], skip_special_tokens=False)
        return text or self._library.id_to_token(token_id) or ""

    def bare(self, text: str) -> list[int]:
        self._library.no_truncation()
        try:
            with panics_raised():
                return list(self._library.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # the library raises bare Exception
            raise InputError(
                f"the tokenizer refuses this text ({one_line(error)}); give a string"
            ) from error

    def stream(self) -> Callable[[int], str]:
        from tokenizers.decoders import DecodeStream  # type: ignore[import-untyped,unused-ignore]

        stream = DecodeStream(skip_special_tokens=True)
        return lambda token_id: stream.step(self._library, token_id) or ""


class _Slow:
    """Any other tokenizer files, read by transformers."""

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingDependencyError(
                f"{folder} has no tokenizer.json, and other tokenizer files need transformers; "
                "pip install 'lighttoken[export]', or add its tokenizer.json"
            ) from error
        check_tokenizer(folder)
        try:
            library: Any = AutoTokenizer  # its methods have no types
            with panics_raised():
                self._library = library.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,  # where nothing is said, transformers asks on stdin
                )
        except Exception as error:  # libraries of tokenizers raise whatever they come upon
            self._library = _word_pieces(folder)
            if self._library is None:
                raise InputError(
                    f"{folder} has no tokenizer that can be read ({one_line(error)}); "
                    "add its tokenizer.json"
                ) from error

    def split(self, texts: Sequence[Text], max_length: int | None) -> list[Tokens]:
        rows = []
        for text in texts:
            one, two = (text, None) if isinstance(text, str) else text
            row = self._library(
                one,
                two,
                truncation=max_length is not None,
                max_length=max_length,
                return_token_type_ids=True,
            )
            rows.append(Tokens(tuple(row["input_ids"]), tuple(row["token_type_ids"])))
        return rows

    def windows(self, text: Text, max_length: int | None, overlap: int) -> list[Window]:
        library = getattr(self._library, "backend_tokenizer", None)
        if library is None:
            raise InputError(
                f"a {type(self._library).__name__} does not tell which characters its tokens are "
                "from; add its tokenizer.json"
            )
        return cut_windows(library, text, max_length, overlap)

    def token_id(self, token: str) -> int | None:
        token_id = self._library.convert_tokens_to_ids(token)
        return token_id if isinstance(token_id, int) else None

    def text_of(self, token_id: int) -> str:
        return str(self._library.decode([token_id])) or str(
            self._library.convert_ids_to_tokens(token_id)
        )

    def bare(self, text: str) -> list[int]:
        return list(self._library(text, add_special_tokens=False)["input_ids"])

    def stream(self) -> Callable[[int], str]:
        ids: list[int] = []
        said = ""

        def step(token_id: int) -> str:
            nonlocal said
            ids.append(token_id)
            text = str(self._library.decode(ids, skip_special_tokens=True))
            if text.endswith("\ufffd"):  # the first bytes of a character
                return ""
            new, said = text[len(said) :], text
            return new

        return step


def _word_pieces(folder: Path) -> Any:
    """A vocab.txt of BERT's kind, alone, says what it is; None where there is none, or more."""
    path = folder / "vocab.txt"
    if not path.is_file() or any((folder / name).is_file() for name in _SETTINGS):
        return None
    words = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not {"[UNK]", "[CLS]", "[SEP]"} <= set(words):
        return None
    from transformers import BertTokenizerFast

    library: Any = BertTokenizerFast
    return library.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
