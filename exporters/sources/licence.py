"""Under which licence a model may be used: its name on the model's own card, and its text.

A bundle is made of the model, so whoever passes it on has to say this again.
"""

import re
from pathlib import Path

from .folder_files import found_by

CARD = "README.md"
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
"""Names of texts that a licence may ask to be passed on with the model."""

_LONGEST = 1 << 16  # bytes of a card that are read: what is asked for stands at its beginning
_HEAD = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9.+-]{1,64})[\"']?[ \t]*\r?$", re.MULTILINE)


def licence_name(folder: Path) -> str | None:
    """The hub's word for the licence, such as ``apache-2.0``; None where no card names one."""
    card = folder / CARD
    if not card.is_file():
        return None
    with card.open("rb") as opened:
        text = opened.read(_LONGEST).decode("utf-8", errors="replace")
    head = _HEAD.match(text)
    found = _LICENCE.search(head[1]) if head else None
    return found[1].lower() if found else None


def licence_files(folder: Path) -> list[str]:
    """Names of the texts that are there."""
    return found_by(folder, LICENCE_FILES)
