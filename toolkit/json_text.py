"""JSON as text, out and in: the language has no word for NaN and infinity."""

import json
import math
from collections.abc import Mapping
from typing import Any

from .errors import FormatError

_MOST_DIGITS = 308  # of an integer that a float is sure to hold
_SHOWN = 20  # of a number's digits, in a message


def json_text(data: Any, *, indent: int | None = 2) -> str:
    """``data`` as JSON in ASCII, keys in the order given; floats that are no number are null.

    Control characters in strings are escaped, so that a terminal may show the text.
    """
    text = json.dumps(finite(data), indent=indent, allow_nan=False)
    return text.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


def finite(data: Any) -> Any:
    """``data`` with None in the place of NaN and infinities, below lists and mappings too."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        # A key that is a float would be written as NaN too.
        return {
            str(key) if isinstance(key, float) else key: finite(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [finite(one) for one in data]
    return data


def parse_json(text: str | bytes) -> Any:
    """The value that a JSON text of others stands for; its numbers are finite.

    Raises:
        ValueError: it is no JSON; nested deeper than Python reads; or a number that is none, or
            larger than a float holds.
    """
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_float=_finite_float, parse_int=_finite_int
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def check_numbers(data: Any, what: str) -> None:
    """Whether all numbers in parsed JSON are such that a float holds.

    Raises:
        FormatError: one is NaN, infinite or too large, or the lists in it go too deep.
    """
    try:
        _check(data, what)
    except RecursionError as error:
        raise FormatError(f"{what} is nested too deep; the file is damaged") from error


def _check(data: Any, what: str) -> None:
    if isinstance(data, float | int):
        try:
            usable = math.isfinite(data)
        except OverflowError:
            usable = False
        if not usable:
            raise FormatError(f"{what} holds a number that no float holds; the file is damaged")
    elif isinstance(data, Mapping | list | tuple):
        for one in data.values() if isinstance(data, Mapping) else data:
            _check(one, what)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number too large for a float: {_begun(digits)}")
    return value


def _finite_int(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number too large for a float: {_begun(digits)}")
    return int(digits)


def _begun(digits: str) -> str:
    return digits if len(digits) <= _SHOWN else f"{digits[:_SHOWN]}…"
