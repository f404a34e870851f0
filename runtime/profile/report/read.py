"""A profile that was kept as JSON, back as a report."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from toolkit.errors import FormatError

from .report import SCHEMA, ProfileReport

KIND = "lighttoken profile"

_Data = TypeVar("_Data")


def read_report(data: Mapping[str, Any]) -> ProfileReport:
    """Inverse of :meth:`.report.ProfileReport.to_dict`; JSON's lists become tuples again.

    Args:
        data: parsed JSON. Unknown keys are ignored, absent ones take their defaults.

    Raises:
        FormatError: another kind or schema, or a field that is missing or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FormatError(f"a profile is a JSON object, got {type(data).__name__}")
    kind, schema = data.get("kind"), data.get("schema")
    if kind != KIND:
        raise FormatError(f"this is no profile: kind is {kind!r}, not {KIND!r}; give its JSON")
    if schema != SCHEMA or isinstance(schema, bool):
        raise FormatError(
            f"the profile is of schema {schema!r}, this version reads {SCHEMA}; profile again"
        )
    return _fill(ProfileReport, data, "profile")


def _fill(cls: type[_Data], data: Any, where: str) -> _Data:
    if not isinstance(data, Mapping):
        raise _wrong(where, "an object", data)
    hints = get_type_hints(cls)
    known = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in data:
            known[field.name] = _read(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise FormatError(f"{where}.{field.name} is missing; the file is damaged")
    return cls(**known)


def _read(hint: Any, data: Any, where: str) -> Any:
    """``data`` as the type that ``hint`` names."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return data
    if origin in (Union, types.UnionType):
        if data is None and type(None) in inner:
            return None
        rest = [one for one in inner if one is not type(None)]
        if len(rest) == 1:
            return _read(rest[0], data, where)
        return _first(rest, data, where)
    if dataclasses.is_dataclass(hint):
        return _fill(hint, data, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _tuple(inner, data, where)
    if origin is dict:
        if not isinstance(data, Mapping):
            raise _wrong(where, "an object", data)
        return {str(key): _read(inner[1], one, f"{where}[{key!r}]") for key, one in data.items()}
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        raise _wrong(where, hint.__name__, data)
    return data


def _tuple(inner: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise _wrong(where, "a list", data)
    kinds = [inner[0]] * len(data) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(data):
        raise _wrong(where, f"a list of {len(kinds)}", data)
    return tuple(
        _read(kind, one, f"{where}[{at}]")
        for at, (kind, one) in enumerate(zip(kinds, data, strict=True))
    )


def _first(hints: list[Any], data: Any, where: str) -> Any:
    for hint in hints:
        try:
            return _read(hint, data, where)
        except FormatError:
            continue
    raise _wrong(where, " or ".join(getattr(hint, "__name__", "?") for hint in hints), data)


def _wrong(where: str, wanted: str, seen: Any) -> FormatError:
    text = repr(seen)
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return FormatError(f"{where} should be {wanted}, got {shown}; the file is damaged")
