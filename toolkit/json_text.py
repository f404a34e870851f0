"""JSON as text that every reader takes: the language has no word for NaN and infinity."""

import json
import math
from collections.abc import Mapping
from typing import Any

from .errors import FormatError


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
