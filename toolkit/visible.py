"""Text of others for a terminal: what would be interpreted there is shown as its escape."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

# Letters of Persian and of Indic scripts, and many emoji, are spelled with these two.
_JOINERS = "\u200c\u200d"
# Control and format characters, lone surrogates, separators of lines and paragraphs.
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")

_Data = TypeVar("_Data")


def visible(text: str, keep: str = "") -> str:
    r"""``text`` with each character that moves, colours or hides something as its escape.

    Escaped, as Python writes them (``\x1b``, ``\r``, ``\u202e``), are all control characters, C1
    too; what turns the direction of text or is invisible; line and paragraph separators; and the
    halves of pairs that stand for bytes of a file name that are no text. The rest stays.

    Args:
        keep: characters that stay too, such as the ends of a written text's lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in keep else _shown(one) for one in text)


def visible_in(data: _Data, keep: str = "") -> _Data:
    """``data`` with :func:`visible` of each string in it; in lists, mappings and dataclasses too.

    Dataclasses are made anew, of the same type.
    """
    return cast(_Data, _in(data, keep))


def _in(data: Any, keep: str) -> Any:
    if isinstance(data, str):
        return visible(data, keep)
    if isinstance(data, Mapping):
        return {_in(key, keep): _in(value, keep) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_in(one, keep) for one in data)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        changed = {
            one.name: _in(getattr(data, one.name), keep)
            for one in dataclasses.fields(data)
            if one.init
        }
        return dataclasses.replace(data, **changed)
    return data


@cache
def _shown(one: str) -> str:
    if unicodedata.category(one) not in _CATEGORIES or one in _JOINERS:
        return one
    return one.encode("unicode_escape").decode("ascii")


def as_line(message: str) -> str:
    """A message as one line: its own line ends become spaces, all else is as :func:`visible`."""
    lines = message.replace("\r\n", "\n").split("\n")
    return visible(" ".join(part for line in lines for part in line.split(" ") if part))
