"""Text of others for a terminal: what would be interpreted there is shown as its escape."""

import unicodedata
from functools import cache

# Letters of Persian and of Indic scripts, and many emoji, are spelled with these two.
_JOINERS = "\u200c\u200d"
# Control and format characters, lone surrogates, separators of lines and paragraphs.
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


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


@cache
def _shown(one: str) -> str:
    if unicodedata.category(one) not in _CATEGORIES or one in _JOINERS:
        return one
    return one.encode("unicode_escape").decode("ascii")


def one_line(message: str) -> str:
    """A message as one line: its own line ends become spaces, all else is as :func:`visible`."""
    lines = message.replace("\r\n", "\n").split("\n")
    return visible(" ".join(part for line in lines for part in line.split(" ") if part))
