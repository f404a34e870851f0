"""JSON: small files beside a model, the last line of a process, and dataclasses from either.

Such a file may come from anyone. :func:`parse_json` is the only way in: it holds to limits of
length, depth and numbers, so that whatever comes out can be walked, printed and written again.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .errors import FormatError, LightTokenError

_Data = TypeVar("_Data")
_Kind = TypeVar("_Kind", dict[str, Any], list[Any])
_WRONG = re.compile(r"Expected `(?P<wanted>[^`]+)`(?: of length (?P<length>\d+))?, got ")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<at>\d+|\.\.\.)\]")
_WORDS = {"object": "an object", "array": "a list"}
_LONGEST = 40  # letters of a value that a message shows

MOST_BYTES = 1 << 28  # of a file: the largest tokenizers have a tenth of it
_DEEPEST = 64  # lists and objects in one another; what people write has ten
_DIGITS = 300  # of an integer: any such is a float too. `model_max_length` of many models has 31


class JsonError(ValueError):
    """No JSON, or JSON beyond a limit. The message is one line, without the file's name."""


def parse_json(text: str | bytes, *, strict: bool = False) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: as bytes, of UTF-8, with its mark or without.
        strict: a file of ours, which holds no NaN or Infinity, no name twice in one object, and no
            half of a surrogate pair. Configs of models do (``time_step_limit`` of Mamba).

    Raises:
        JsonError: no JSON, no UTF-8; nested deeper than 64 levels; an integer of more than 300
            digits, a number too large for float64; of a strict one what is said above.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        data = json.loads(
            text,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant if strict else None,
            object_pairs_hook=_once if strict else None,
        )
        if strict:
            json.dumps(data, ensure_ascii=False).encode()
    except JsonError:
        raise
    except RecursionError as error:
        raise JsonError(f"nested deeper than {_DEEPEST} levels") from error
    except UnicodeEncodeError as error:
        raise JsonError("half of a surrogate pair in a text") from error
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not UTF-8: {error}") from error
    except ValueError as error:
        raise JsonError(str(error)) from error
    _check_depth(data)
    return data


def load_json(path: Path, *, strict: bool = False) -> Any:
    """:func:`parse_json` of a file.

    Raises:
        JsonError: as there, or a file of more than 256 MiB.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise JsonError(f"more than {MOST_BYTES:,} bytes")
    return parse_json(text, strict=strict)


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise JsonError(f"an integer of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise JsonError(f"a number that is too large: {text[:_LONGEST]}")
    return value


def _no_constant(text: str) -> float:
    raise JsonError(f"{text}, which is no number of JSON's")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"{twice[:_LONGEST]!r} twice in one object")
    return data


def _check_depth(data: Any) -> None:
    """Level by level, so that no depth is one of calls."""
    level = [data]
    for _ in range(_DEEPEST + 1):
        level = [
            value
            for one in level
            if isinstance(one, dict | list)
            for value in (one.values() if isinstance(one, dict) else one)
            if isinstance(value, dict | list)
        ]
        if not level:
            return
    raise JsonError(f"nested deeper than {_DEEPEST} levels")


def read_json(
    path: Path,
    *,
    error: type[LightTokenError] = FormatError,
    remedy: str = "copy it again",
) -> dict[str, Any]:
    """The object in ``path``, or an empty one if there is no such file.

    Args:
        error: what is raised.
        remedy: how the message ends: what to do about it.

    Raises:
        LightTokenError: of type ``error``; no JSON, or JSON that is no object.
    """
    return _read(path, {}, "object", error, remedy)


def read_json_list(
    path: Path,
    *,
    error: type[LightTokenError] = FormatError,
    remedy: str = "copy it again",
) -> list[Any]:
    """As :func:`read_json`, of a file that holds a list."""
    return _read(path, [], "list", error, remedy)


def _read(path: Path, empty: _Kind, name: str, error: type[LightTokenError], remedy: str) -> _Kind:
    if not path.is_file():
        return empty
    try:
        data = load_json(path)
    except (JsonError, OSError) as cause:
        raise error(f"{path} is damaged ({cause}); {remedy}") from cause
    if not isinstance(data, type(empty)):
        raise error(f"{path} should hold a JSON {name}, found {type(data).__name__}; {remedy}")
    return data


def last_json(text: str) -> dict[str, Any]:
    """The object in the last line of what a process wrote; empty if that is none."""
    try:
        told = parse_json(text.strip().rsplit("\n", 1)[-1])
    except JsonError:
        return {}
    return told if isinstance(told, dict) else {}


def to_dataclass(kind: type[_Data], data: Any, name: str) -> _Data:
    """Parsed JSON as a dataclass, its fields as dataclasses too; lists become tuples.

    Types are held to, but that an integer may stand for a float. Unknown keys are ignored, absent
    ones take their defaults.

    Args:
        name: what messages call ``data``; ``profile`` gives ``profile.grid[0]``.

    Raises:
        FormatError: a field that is missing or of another type: where it is, what is expected
            there and what stands there.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise FormatError(_message(str(error), data, name)) from error


def _message(told: str, data: Any, name: str) -> str:
    """msgspec's message, with names and values."""
    told, _, path = told.partition(" - at `")
    where, value = next(_walk(data, path.rstrip("`"), name, told.rpartition("got ")[2]))
    missing, wrong = _MISSING.search(told), _WRONG.match(told)
    if missing:
        return f"{where}.{missing['name']} is missing"
    wanted = told
    if wrong:
        kinds = wrong["wanted"].replace("null", "None").split(" | ")
        wanted = f"should be {' or '.join(_WORDS.get(kind, kind) for kind in kinds)}"
        wanted += f" of {wrong['length']}" if wrong["length"] else ""
    shown = repr(value)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return f"{where} {wanted}, got {shown}"


def _walk(data: Any, path: str, where: str, got: str) -> Iterator[tuple[str, Any]]:
    """Names and values that msgspec's ``path`` may mean: it does not tell the keys of a mapping.

    Those come first whose value is of the type that msgspec ``got``; the path itself, last.
    """
    found = [(where, data)]
    for step in _STEP.finditer(path):
        field, at = step["field"], step["at"]
        further = []
        for place, value in found:
            if field is not None and isinstance(value, Mapping) and field in value:
                further.append((f"{place}.{field}", value[field]))
            elif at == "..." and isinstance(value, Mapping):
                further += [(f"{place}[{key!r}]", one) for key, one in value.items()]
            elif at is not None and isinstance(value, list | tuple) and int(at) < len(value):
                further.append((f"{place}[{at}]", value[int(at)]))
        found = further
    yield from sorted(found, key=lambda one: _name(one[1]) != got.strip("`"))
    yield where + path.removeprefix("$"), data


def _name(value: Any) -> str:
    """msgspec's word for the type of a JSON value."""
    words = {type(None): "null", list: "array", tuple: "array", dict: "object"}
    return words.get(type(value), type(value).__name__)
