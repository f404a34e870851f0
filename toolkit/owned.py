"""Which files of a folder LightToken wrote: all else is the user's, and no option deletes it.

A name alone says little: a list of names may come from anyone, and a file may have been changed
since. What counts is the content that LightToken wrote.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import InputError
from .json_files import load_json

LISTING = ".lighttoken-files.json"
"""All that stands in a folder which has no manifest, with its content; in the folder itself."""

Owned = Callable[[Path], set[str]]
"""Of a folder: names of the entries that LightToken wrote, sub-folders too, with slashes. It may
raise an InputError that says why the folder is not LightToken's at all."""


def entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All below ``folder``, in order, by name with slashes; no link is followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        yield entry.name, entry
        if entry.is_dir(follow_symlinks=False):
            for name, below in entries(Path(entry.path)):
                yield f"{entry.name}/{name}", below


def write_listing(folder: Path) -> None:
    """Note in ``folder`` all that is in it: of each file its size and sha256."""
    held = {name: _content(entry) for name, entry in entries(folder) if name != LISTING}
    (folder / LISTING).write_text(json.dumps(held) + "\n", encoding="utf-8")


def listed(folder: Path) -> set[str]:
    """What :func:`write_listing` noted and is as it was then, with what Python compiled since;
    empty without a list."""
    path = folder / LISTING
    try:
        told = load_json(path) if not path.is_symlink() else {}
    except (OSError, ValueError):
        return set()
    if not isinstance(told, dict):
        return set()
    every = dict(entries(folder))
    ours = {LISTING, *(name for name in told if _is_as_told(every.get(name), told[name]))}
    for name in every:
        above, _, last = name.rpartition("/")
        if last == "__pycache__" and (above in ours or not above):
            ours.add(name)
        if above.rpartition("/")[2] == "__pycache__" and above in ours and last.endswith(".pyc"):
            ours.add(name)
    return ours


def _content(entry: os.DirEntry[str]) -> list[int | str] | None:
    if not entry.is_file(follow_symlinks=False):
        return None
    with Path(entry.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [entry.stat().st_size, digest]


def _is_as_told(entry: os.DirEntry[str] | None, told: object) -> bool:
    if entry is None or not isinstance(told, list):
        return entry is not None and told is None and not entry.is_file(follow_symlinks=False)
    return len(told) == 2 and is_file_of(entry, *told)


def is_file_of(entry: os.DirEntry[str], size: object, sha256: object) -> bool:
    """Whether an entry is a file, no link, of this content."""
    try:
        if not entry.is_file(follow_symlinks=False) or entry.stat().st_size != size:
            return False
        return _content(entry) == [size, sha256]
    except OSError:  # nobody may read it, so nobody knows whose it is
        return False


def foreign(folder: Path, owned: Owned) -> str | None:
    """The first entry that LightToken did not write; None for none, as in an empty folder.

    Raises:
        InputError: ``owned`` says that the folder is not LightToken's.
    """
    if not any(folder.iterdir()):
        return None
    ours = owned(folder)
    return next((name for name, _ in entries(folder) if name not in ours), None)


def check_owned(folder: Path, owned: Owned, *, called: Path, act: str = "replaced") -> None:
    """Refuse to lose ``folder`` where it holds anything that LightToken did not write.

    Raises:
        InputError: it does; the line names the first such file, and calls the folder ``called``.
    """
    name = foreign(folder, owned)
    if name is not None:
        raise InputError(
            f"{called} holds {name}, which lighttoken did not write as it is, so it is not {act}; "
            "move that away or choose another name"
        )
