"""Whether names and links that a file brings stay inside its folder.

Manifests, models, indexes of shards and results may come from anyone. What they name is read,
copied or served only where it is one of the folder's own files.
"""

from collections.abc import Iterable, Iterator
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


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, begins with a dot: nobody keeps a model there."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def is_no_part(name: str) -> bool:
    """Whether a model's own files may not have this name: it leads out, or is hidden."""
    return leads_out(name) or is_hidden(name)


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
        names: of the files that are read; None for all below it, hidden ones left out.

    Raises:
        InputError: a link that leads out of the folder.
    """
    for path in _visible(folder) if names is None else (folder / name for name in names):
        if not is_in_folder(path, folder):
            raise InputError(
                f"{path} is a link that leads out of {folder}, to {path.resolve()}; copy the file "
                "itself there if it is the model's"
            )


def _visible(folder: Path) -> Iterator[Path]:
    """All below ``folder``, at any depth; what is behind a link too, once it was looked at."""
    seen, left = {folder.resolve()}, [folder]
    while left:
        try:
            below = sorted(left.pop().iterdir())
        except OSError:  # nobody reads a model there
            continue
        for path in below:
            if path.name.startswith("."):
                continue
            yield path
            if path.is_dir() and (real := path.resolve()) not in seen:
                seen.add(real)
                left.append(path)
