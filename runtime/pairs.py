"""Files of sentence pairs that people scored for likeness (STS)."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError, InputError

_LEFT = ("sentence1", "sentence_1", "text1", "left")
_RIGHT = ("sentence2", "sentence_2", "text2", "right")
_SCORE = ("score", "label", "similarity", "similarity_score", "relatedness_score", "gold")


@dataclass(frozen=True)
class Pairs:
    """Pairs with their human scores; all three have one length. Any scale will do."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.scores)


Row = tuple[int, Any, Any, Any]  # line, sentence, sentence, score, as read


def read_pairs(path: str | Path) -> Pairs:
    """Read ``path``: ``.csv``, ``.tsv`` or ``.jsonl`` of sentence, sentence, score.

    A csv or tsv file may start with a header that names the columns (sentence1, sentence2,
    score), among others. In tsv files quotes are plain characters, as in GLUE. A jsonl line is
    an object with these names, or a list of three.

    Raises:
        InputError: no such file, another suffix, or no pair in it.
        FormatError: a row that is no pair with a score; its line is named.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not here; give a .csv, .tsv or .jsonl file of pairs")
    readers = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} has suffix {path.suffix!r}; use {', '.join(readers)}")
    try:
        rows = [_checked(path, row) for row in reader(path)]
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 ({error}); convert it") from error
    if not rows:
        raise InputError(f"{path} holds no pairs; each line needs sentence, sentence, score")
    return Pairs(*zip(*rows, strict=True))


def _checked(path: Path, row: Row) -> tuple[str, str, float]:
    line, left, right, score = row
    if not (isinstance(left, str) and isinstance(right, str) and left.strip() and right.strip()):
        raise FormatError(f"{path} line {line}: a sentence is empty or no text; remove the line")
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(
            f"{path} line {line}: score {score!r} is no number; correct it, or name the columns "
            "sentence1, sentence2, score in the first line"
        )
    return left, right, number


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from _columns(path, csv.reader(file))


def _read_tsv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from _columns(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _columns(path: Path, reader: Any) -> Iterator[Row]:
    columns: tuple[int, int, int] | None = None
    try:
        for fields in reader:
            if not fields:
                continue
            if columns is None:
                columns = _header(fields)
                if columns is not None:
                    continue
                columns = (0, 1, 2)
                if len(fields) != 3:
                    raise FormatError(
                        f"{path} line {reader.line_num}: {len(fields)} columns without a header; "
                        "name sentence1, sentence2, score in the first line"
                    )
            if len(fields) <= max(columns):
                raise FormatError(
                    f"{path} line {reader.line_num}: {len(fields)} columns where "
                    f"{max(columns) + 1} are needed; check quotes and separators"
                )
            left, right, score = (fields[column] for column in columns)
            yield reader.line_num, left, right, score
    except csv.Error as error:
        raise FormatError(f"{path} line {reader.line_num}: {error}; check its quotes") from error


def _header(fields: list[str]) -> tuple[int, int, int] | None:
    """Columns of the two sentences and the score if ``fields`` name all three."""
    names = [field.strip().lower() for field in fields]
    found = [
        next((names.index(word) for word in words if word in names), None)
        for words in (_LEFT, _RIGHT, _SCORE)
    ]
    left, right, score = found
    return None if left is None or right is None or score is None else (left, right, score)


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                data = json.loads(text)
            except ValueError as error:
                raise FormatError(f"{path} line {line} is no JSON ({error}); correct it") from error
            if isinstance(data, list) and len(data) == 3:
                yield line, data[0], data[1], data[2]
            elif isinstance(data, dict):
                yield line, _value(data, _LEFT), _value(data, _RIGHT), _value(data, _SCORE)
            else:
                raise FormatError(
                    f"{path} line {line}: neither an object nor a list of three; write "
                    '{"sentence1": ..., "sentence2": ..., "score": ...}'
                )


def _value(data: dict[str, Any], words: tuple[str, ...]) -> Any:
    return next((data[word] for word in words if word in data), None)
