"""Rows of csv, tsv and jsonl files and of data sets, by what their columns are for."""

# Read with Python's csv and json, not with pandas (tried: 3.1, 84 MB installed) or datasets, which
# brings pandas and pyarrow. pandas fills short rows and, where all rows are longer than the header,
# moves the columns by one, both silently; it reads the labels "01" of jsonl as 1; and its rows do
# not know their line, which our errors name. Data sets of the hub are read with datasets (hub.py).
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import FormatError, InputError
from toolkit.json_files import parse_json

from .hub import data_set, is_data_set


@dataclass(frozen=True)
class Columns:
    """What is wanted of each row.

    Attributes:
        names: for each role, in lower case, what a header or a JSON object may call it.
        plain: for rows without names, by how many columns there are: that of each role.
        example: names for an error to propose.
        json: a line of jsonl for an error to propose.
    """

    names: Mapping[str, tuple[str, ...]]
    plain: Mapping[int, tuple[int, ...]]
    example: str
    json: str


@dataclass(frozen=True)
class Row:
    """``values`` by role, as read; ``place`` says for errors where they stand.

    ``classes``: where the label is one of a data set's class names, all of them in its order.
    """

    place: str
    values: Mapping[str, Any]
    classes: tuple[str, ...] = ()


def read_rows(given: str | Path, columns: Sequence[Columns], what: str) -> list[Row]:
    """Read ``.csv``, ``.tsv`` or ``.jsonl``, or a data set «name[/config]:split» of the hub.

    A csv or tsv file may start with a header; the first of ``columns`` whose names it has all is
    taken, else the first that knows the number of columns. In tsv files quotes are plain
    characters, as in GLUE. A jsonl line is an object with these names, or a list.

    Raises:
        InputError: no such file, another suffix, or no row in it; ``what`` names the rows.
        FormatError: a row that lacks a column, or broken csv or JSON; the line is named.
        MissingDependencyError: a data set where the package datasets or the hub is not there.
    """
    path = Path(given)
    if not path.is_file():
        if is_data_set(str(given)):
            return _of_data_set(str(given), columns)
        raise InputError(f"{path} is not here; give a .csv, .tsv or .jsonl file of {what}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} has suffix {path.suffix!r}; use {', '.join(READERS)}")
    try:
        rows = list(reader(path, columns))
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 ({error}); convert it") from error
    if not rows:
        raise InputError(f"{path} holds no {what}; each line needs {columns[0].example}")
    return rows


def need_text(row: Row, role: str) -> str:
    """The text of ``role``; FormatError where it is empty or none."""
    text = row.values[role]
    if not (isinstance(text, str) and text.strip()):
        raise FormatError(f"{row.place}: a sentence is empty or no text; remove the line")
    return text


def draw(count: int, limit: int | None, seed: int) -> list[int]:
    """Indices of at most ``limit`` of ``count`` examples, drawn, in increasing order."""
    if limit is None or limit >= count:
        return list(range(count))
    drawn = np.random.default_rng(seed).choice(count, limit, replace=False)
    return sorted(int(index) for index in drawn)


def _read_csv(path: Path, columns: Sequence[Columns]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:  # see toolkit.lines
        yield from _separated(path, csv.reader(file), columns)


def _read_tsv(path: Path, columns: Sequence[Columns]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        yield from _separated(path, _Tabs(file), columns)


class _Tabs:
    """Fields between tabs; Python's csv would end a row at a carriage return in a text too."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file, self.line_num = file, 0

    def __iter__(self) -> Iterator[list[str]]:
        for line in self._file:
            self.line_num += 1
            text = line.removesuffix("\n").removesuffix("\r")
            yield text.split("\t") if text else []


def _separated(path: Path, reader: Any, columns: Sequence[Columns]) -> Iterator[Row]:
    places: dict[str, int] | None = None
    exactly = 0  # columns, where no header says which count
    try:
        for fields in reader:
            if not fields:
                continue
            where = f"{path} line {reader.line_num}"
            if places is None:
                places = _header(fields, columns)
                if places is not None:
                    continue
                places, exactly = _without_header(fields, columns, where), len(fields)
            needed = exactly or max(places.values()) + 1
            if len(fields) < needed or (exactly and len(fields) > exactly):
                raise FormatError(
                    f"{where}: {len(fields)} columns where {needed} are needed; "
                    "check quotes and separators"
                )
            yield Row(where, {role: fields[column] for role, column in places.items()})
    except csv.Error as error:
        raise FormatError(f"{path} line {reader.line_num}: {error}; check its quotes") from error


def _header(fields: Sequence[str], columns: Sequence[Columns]) -> dict[str, int] | None:
    """The column of each role if ``fields`` name all roles of one of ``columns``."""
    names = [field.strip().lower() for field in fields]
    for each in columns:
        found = {
            role: next((names.index(word) for word in words if word in names), -1)
            for role, words in each.names.items()
        }
        if -1 not in found.values():
            return found
    return None


def _without_header(
    fields: Sequence[Any], columns: Sequence[Columns], where: str
) -> dict[str, int]:
    for each in columns:
        if len(fields) in each.plain:
            return dict(zip(each.names, each.plain[len(fields)], strict=True))
    raise FormatError(
        f"{where}: {len(fields)} columns without a header; "
        f"name {columns[0].example} in the first line"
    )


def _read_jsonl(path: Path, columns: Sequence[Columns]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            where = f"{path} line {line}"
            try:
                data = parse_json(text, strict=True)
            except ValueError as error:
                raise FormatError(f"{where} is no JSON ({error}); correct it") from error
            if isinstance(data, list) and any(len(data) in each.plain for each in columns):
                places = _without_header(data, columns, where)
                yield Row(where, {role: data[column] for role, column in places.items()})
            elif isinstance(data, dict):
                yield Row(where, _named(data, columns))
            else:
                raise FormatError(
                    f"{where}: neither an object nor a list as long as its names; write "
                    f"{columns[0].json}"
                )


def _named(data: Mapping[str, Any], columns: Sequence[Columns]) -> dict[str, Any]:
    """Values by role; None for what is not there, which its reader refuses by its place."""
    lower = {str(name).lower(): value for name, value in data.items()}
    places = _header(list(lower), columns)
    if places is not None:
        values = list(lower.values())
        return {role: values[column] for role, column in places.items()}
    return {
        role: next((lower[word] for word in words if word in lower), None)
        for role, words in columns[-1].names.items()
    }


def _of_data_set(given: str, columns: Sequence[Columns]) -> list[Row]:
    table = data_set(given)
    places = _header(table.names, columns)
    if places is None:
        raise FormatError(
            f"{given} has columns {', '.join(table.names)}; of one with "
            f"{columns[0].example} rows could be read"
        )
    names = {role: table.names[column] for role, column in places.items()}
    classes = table.classes.get(names.get("label", ""), ())
    return [
        Row(f"{given} row {number}", {role: row[name] for role, name in names.items()}, classes)
        for number, row in enumerate(table.rows)
    ]


Reader = Callable[[Path, Sequence[Columns]], Iterable[Row]]
READERS: Mapping[str, Reader] = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
