"""Names of a model in Markdown and in programs: each stays a name, whatever is in it."""

import json
import re

from .visible import visible

# Underscores within a word are plain; the other signs begin something anywhere in a line.
_SIGNS = re.compile(r"[\\`*\[\]<>|&~#!$]|(?<![^\W_])_|_(?![^\W_])")
_PLAIN_YAML = re.compile(r"[a-z][a-z0-9-]*")


def prose(name: str) -> str:
    """In a paragraph, a heading, or a cell of a table."""
    return _SIGNS.sub(r"\\\g<0>", visible(name))


def sentence(text: str) -> str:
    """As :func:`prose`, of words of ours that hold names; what stands in backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return prose(text)
    return "".join(code(part) if at % 2 else prose(part) for at, part in enumerate(parts))


def code(name: str) -> str:
    """As code within a paragraph or a cell."""
    shown = visible(name).replace("|", r"\|")  # which a table would take for its own
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest or shown != shown.strip() or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def python(name: str) -> str:
    """As a literal of Python."""
    literal = repr(name)
    return f'"{literal[1:-1]}"' if not {"'", '"'} & set(name) else literal


def javascript(name: str) -> str:
    """As a literal of JavaScript, and of C++ and JSON."""
    return json.dumps(name)


def kotlin(name: str) -> str:
    """As a part of a literal of Kotlin, without its quotes."""
    return json.dumps(name)[1:-1].replace("$", r"\$")


def yaml(word: str) -> str:
    """As a value in YAML."""
    return word if _PLAIN_YAML.fullmatch(word) else json.dumps(visible(word))
