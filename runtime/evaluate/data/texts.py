"""Texts without labels: lines of any text file, or the text columns of csv, tsv and jsonl."""

import re
from pathlib import Path

from toolkit.errors import FormatError, InputError
from toolkit.lines import split_lines

from ...tasks.tokenize import Text
from .hub import is_data_set
from .labelled import TEXT
from .pairs import LEFT, RIGHT
from .rows import READERS, Columns, need_text, read_rows

_LONGEST = 1000  # characters, about what sentence encoders read at once
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])")

_PAIR = Columns(
    {"left": LEFT, "right": RIGHT},
    {3: (0, 1)},
    "sentence1, sentence2",
    '{"sentence1": ..., "sentence2": ...}',
)
_SINGLE = Columns({"text": TEXT}, {1: (0,), 2: (0,), 4: (3,)}, "text", '{"text": ...}')


def read_texts(given: str | Path) -> tuple[Text, ...]:
    """The distinct texts of a file, in its order.

    Of csv, tsv, jsonl and data sets those that :func:`read_labelled` would take, pairs as pairs.
    Any other file is plain text: a line is a text, and a line of more than 1000 characters, as a
    paragraph may be, is cut where a sentence ends.

    Raises:
        InputError: no such file, or no text in it.
        FormatError: a file that is not UTF-8, or a row without a text.
        MissingDependencyError: a data set where the package datasets or the hub is not there.
    """
    path = Path(given)
    if path.suffix.lower() in READERS or (not path.is_file() and is_data_set(str(given))):
        rows = read_rows(given, [_PAIR, _SINGLE], "texts")
        texts: list[Text] = [
            (need_text(row, "left"), need_text(row, "right"))
            if "left" in row.values
            else need_text(row, "text")
            for row in rows
        ]
    else:
        texts = [piece for line in split_lines(read_plain(path)) for piece in _pieces(line)]
    if not texts:
        raise InputError(f"{path} holds no text; give a file with a text on each line")
    return tuple(dict.fromkeys(texts))


def read_running(given: str | Path) -> str:
    """A file as one text: plain text as it is, rows of other files one after another.

    Raises:
        InputError, FormatError, MissingDependencyError: as :func:`read_texts`.
    """
    path = Path(given)
    if path.is_file() and path.suffix.lower() not in READERS:
        return read_plain(path)
    return "\n".join(flat(read_texts(given)))


def read_plain(path: Path) -> str:
    """A text file.

    Raises:
        InputError: no such file.
        FormatError: it is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give a text file, or .csv, .tsv or .jsonl")
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 ({error}); convert it") from error


def flat(texts: tuple[Text, ...]) -> tuple[str, ...]:
    """Each distinct text by itself: both sides of a pair."""
    sides = (side for text in texts for side in ((text,) if isinstance(text, str) else text))
    return tuple(dict.fromkeys(sides))


def _pieces(line: str) -> list[str]:
    """A line, or sentences of it put together up to :data:`_LONGEST` characters."""
    line = line.strip()
    if len(line) <= _LONGEST:
        return [line] if line else []
    pieces = [""]
    start = 0
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    for end in (*ends, len(line)):
        if pieces[-1] and len(pieces[-1]) + end - start > _LONGEST:
            pieces.append("")
        pieces[-1] += line[start:end]
        start = end
    return [piece.strip() for piece in pieces if piece.strip()]
