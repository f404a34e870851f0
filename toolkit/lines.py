"""Files and streams of a text a line: a line ends where an editor ends it, and nowhere else."""

import os
from pathlib import Path
from typing import TextIO

from .errors import InputError

_PIECE = 1 << 20  # characters


def split_lines(text: str) -> list[str]:
    r"""The lines of ``text``, ended by ``\n`` or ``\r\n`` alone.

    Unlike ``str.splitlines`` it leaves form feeds, U+2028 and the like where they are: they belong
    to the text that has them.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def decode(data: bytes, name: str) -> str:
    """UTF-8 with or without a mark at its start, line ends as they are.

    Raises:
        InputError: it is not UTF-8; ``name`` says what.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no UTF-8 text ({error}); convert it") from error


def argument_text(argument: str) -> str:
    """A text that was given as an argument, as UTF-8 whatever the system's encoding is.

    Raises:
        InputError: it is not UTF-8.
    """
    if not any("\ud800" <= one <= "\udfff" for one in argument):  # bytes that were no characters
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError as error:
        raise InputError(f"the text {argument!r} is not UTF-8; convert it") from error


def read_lines(path: Path, what: str = "text") -> list[str]:
    """The lines of a file that hold more than white space.

    Raises:
        InputError: no such file, or no line in it; ``what`` names the lines; or it is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give a text file, a text on each line")
    lines = [line for line in split_lines(decode(path.read_bytes(), str(path))) if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no {what}; give a file with a text on each line")
    return lines


def check_texts(path: Path) -> None:
    """Whether :func:`read_lines` could read a file, however large, without keeping it.

    Raises:
        InputError: as :func:`read_lines`.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give a text file, a text on each line")
    found = False
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            while piece := file.read(_PIECE):
                found = found or bool(piece.strip())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error}); convert it") from error
    if not found:
        raise InputError(f"{path} holds no text; give a file with a text on each line")


def read_stream(stream: TextIO | None) -> list[str]:
    """The same of standard input.

    Raises:
        InputError: it is closed, not UTF-8, or no line in it.
    """
    if stream is None or stream.closed:
        raise InputError("standard input is closed; give the texts there, or as arguments")
    raw = getattr(stream, "buffer", None)
    text = decode(raw.read(), "standard input") if raw is not None else str(stream.read())
    lines = [line for line in split_lines(text) if line.strip()]
    if not lines:
        raise InputError("standard input holds no text; give one on each line")
    return lines
