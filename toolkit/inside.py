"""Whether names and links that a file brings stay inside its folder.

Manifests, models, indexes of shards and results may come from anyone. What they name is read,
copied or served only where it is one of the folder's own files.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from .errors import InputError

_FIRST_PRINTABLE, _DELETE = " ", "\x7f"
_LONGEST = 255  # bytes of one part of a path, on every file system in use


def leads_out(name: str) -> bool:
    """Whether a name that a file gives, relative to its folder, is none of a file below it.

    On any system: an absolute name or one of a drive, ``..``, backslashes, control characters, and
    what no file system takes.
    """
    if not name or "\\" in name or any(one < _FIRST_PRINTABLE or one == _DELETE for one in name):
        return True
    ways = (PurePosixPath(name), PureWindowsPath(name))
    if any(way.drive or way.root or ".." in way.parts or not way.name for way in ways):
        return True
    try:
        longest = max(len(part.encode()) for part in ways[0].parts)
    except UnicodeEncodeError:  # half of a surrogate pair
        return True
    return longest > _LONGEST or Path(name).is_reserved()


def is_in_folder(path: Path, folder: Path) -> bool:
    """Whether a file of ``folder`` is really there, or where the hub's cache keeps its content.

    That cache holds ``snapshots/REVISION``, folders of links, beside ``blobs``.
    """
    try:
        real, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, names that no system takes
        return False
    if real.is_relative_to(root):
        return True
    return any(
        real.is_relative_to(above.parent / "blobs")
        for above in (root, *root.parents)
        if above.name == "snapshots"
    )


def check_links(folder: Path, names: Iterable[str] | None = None) -> None:
    """Whether files of a model's folder are its own: a stranger's may link to a private file.

    Args:
        folder: of a model.
        names: of the files that are read; None for all in it and in its folders, hidden ones left
            out. Models keep nothing deeper.

    Raises:
        InputError: a link that leads out of the folder.
    """
    if names is None:
        every = [path for way in ("[!.]*", "[!.]*/[!.]*") for path in sorted(folder.glob(way))]
    else:
        every = [folder / name for name in names]
    for path in every:
        if not is_in_folder(path, folder):
            raise InputError(
                f"{path} is a link that leads out of {folder}, to {path.resolve()}; copy the file "
                "itself there if it is the model's"
            )
