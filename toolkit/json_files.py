"""JSON: small files beside a model, the last line of a process, and dataclasses from either."""

import json
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
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise error(f"{path} is damaged ({cause}); {remedy}") from cause
    if not isinstance(data, type(empty)):
        raise error(f"{path} should hold a JSON {name}, found {type(data).__name__}; {remedy}")
    return data


def last_json(text: str) -> dict[str, Any]:
    """The object in the last line of what a process wrote; empty if that is none."""
    try:
        told = json.loads(text.strip().rsplit("\n", 1)[-1])
    except ValueError:
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
