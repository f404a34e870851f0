"""Writing so that nobody ever sees half a file or half a folder, and nobody's files are lost."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .hidden import Hidden, tidy
from .owned import Owned, check_owned, listed, write_listing
from .renames import move_new
from .signals import uninterrupted

_Identity = tuple[int, int]

complete: list[Path] = []
"""Folders, and files that a user asked for, that this process has put in place."""
kept: list[str] = []
"""In words what a run that is ended now leaves to go on from; the last says it."""


def user_cache() -> Path:
    """LightToken's folder in the user's cache, whether or not it is there."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lighttoken"


@contextmanager
def write_aside(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; rename it to ``path`` when the block succeeds.

    Whatever ends the block early (an error, a full disk, Ctrl-C, SIGTERM) removes the temporary
    file.

    Raises:
        InputError: no folder for it; at ``path`` is a folder, a link or a device, which is never
            replaced; or a file, where ``replace`` is not given.
    """
    check_file(path, replace=replace)
    aside: Path | None = None
    try:
        with uninterrupted():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            aside = Path(name)
        yield aside
        aside.chmod(0o644)  # mkstemp makes files private; an output is an ordinary file
        check_file(path, replace=replace)
        with uninterrupted():
            if replace:
                aside.replace(path)
            else:
                _put_file(aside, path)
    except BaseException:
        with uninterrupted():
            if aside is not None:
                aside.unlink(missing_ok=True)
        raise


def check_file(path: Path, *, replace: bool) -> None:
    """Whether a file may be written to ``path``.

    Raises:
        InputError: no folder for it, or one that nothing may be written to; a folder, a link or a
            device is there; or a file, where ``replace`` is not given.
    """
    _need_parent(path)
    what = _what_is(path)
    if what not in (None, "a file"):
        raise InputError(f"{path} is {what}, which is not replaced; name a file")
    if what is not None and not replace:
        raise InputError(f"{path} exists; pass --force to replace it or choose another name")


def check_apart(out: Path, *inputs: Path) -> None:
    """Whether writing ``out`` leaves ``inputs`` as they are.

    Raises:
        InputError: ``out`` is one of them, by whatever name, or a folder that holds it.
    """
    for path in inputs:
        if not out.exists() or not path.exists():
            continue
        if any(out.samefile(one) for one in (path, *path.resolve().parents)):
            same = out.samefile(path)
            how = f"is {path}" if same else f"holds {path}"
            raise InputError(f"{out} {how}, which is read; choose another name to write to")


@contextmanager
def folder_aside(
    path: Path, *, force: bool = False, owned: Owned = listed, inputs: Iterable[Path] = ()
) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it becomes ``path`` when the block succeeds.

    Args:
        path: the output. What a run that was killed left of it is tidied up first.
        force: replace a folder that is there, if it is empty or holds what ``owned`` names and
            nothing else, once the new one is complete.
        owned: what LightToken wrote into a folder. By default as a list in it says, which is then
            written into the new folder too.
        inputs: what is read; none of it may be ``path`` or below it.

    Raises:
        InputError: no folder for it; ``path`` exists and is not replaced; or it came, or changed,
            while the block ran, and is left as it is.
    """
    _need_parent(path)
    out = _absolute(path)
    tidy(out, owned)
    before = _check_folder(path, force=force, owned=owned)
    check_apart(path, *inputs)
    hidden: Hidden | None = None
    try:
        with uninterrupted():
            hidden = Hidden(out)
        yield hidden.new
        if owned is listed:
            write_listing(hidden.new)
        hidden.new.chmod(0o755)
        with uninterrupted():
            _put_folder(hidden, path, before, owned)
            complete.append(path)
    finally:
        if hidden is not None:
            with uninterrupted():
                hidden.remove()


def _put_file(aside: Path, path: Path) -> None:
    try:
        move_new(aside, path)
    except FileExistsError as error:
        raise _appeared(path) from error


def _put_folder(hidden: Hidden, path: Path, before: _Identity | None, owned: Owned) -> None:
    now = _identity(path)
    if now is not None and now != before:
        raise _appeared(path)
    try:
        if now is None:
            hidden.put()
        else:
            check_owned(path, owned, called=path)
            hidden.replace(owned)
    except FileExistsError as error:
        where = f"; the old one is in {hidden.waiting}" if hidden.waiting is not None else ""
        raise InputError(f"{_appeared(path)}{where}") from error


def _appeared(path: Path) -> InputError:
    return InputError(
        f"{path} was made by something else meanwhile and is left as it is; "
        "choose another name or run again"
    )


def _check_folder(path: Path, *, force: bool, owned: Owned) -> _Identity | None:
    """What is at ``path`` and may be replaced; None for nothing."""
    what = _what_is(path)
    if what is None:
        return None
    if what != "a folder":
        raise InputError(f"{path} is {what}, which is not replaced; choose another name")
    if not force:
        raise InputError(f"{path} exists; pass --force to replace it or choose another name")
    check_owned(path, owned, called=path)
    return _identity(path)


def _identity(path: Path) -> _Identity | None:
    """Tells a folder from another one that has its name later."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _what_is(path: Path) -> str | None:
    """What is at ``path``, in words; None for nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return f"a link to {path.readlink()}"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a device or a pipe"


def _absolute(path: Path) -> Path:
    """The same place with a name of its own, which ``.`` and ``..`` are not."""
    if path.name in ("", ".."):
        return path.resolve()
    return path.parent.resolve() / path.name


def _need_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"folder {path.parent} is not here; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"nothing may be written to folder {path.parent}; choose another one")


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
