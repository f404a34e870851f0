"""Which files of a folder LightToken wrote: all else is the user's, and no option deletes it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import InputError
from .json_files import load_json

LISTING = ".lighttoken-files.json"
"""Names of all that stands in a folder which has no manifest; the folder itself holds it."""

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
    """Note in ``folder`` all that is in it."""
    names = [name for name, _ in entries(folder)]
    (folder / LISTING).write_text(json.dumps(names) + "\n", encoding="utf-8")


def listed(folder: Path) -> set[str]:
    """What :func:`write_listing` noted, with what Python compiled since; empty without a list."""
    path = folder / LISTING
    try:
        names = load_json(path) if not path.is_symlink() else []
    except (OSError, ValueError):
        return set()
    if not isinstance(names, list):
        return set()
    ours = {LISTING, *(name for name in names if isinstance(name, str))}
    for name, _ in entries(folder):
        above, _, last = name.rpartition("/")
        if last == "__pycache__" and (above in ours or not above):
            ours.add(name)
        if above.rpartition("/")[2] == "__pycache__" and above in ours and last.endswith(".pyc"):
            ours.add(name)
    return ours


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
            f"{called} holds {name}, which lighttoken did not write, so it is not {act}; "
            "move that away or choose another name"
        )
