"""Writing so that nobody ever sees half a file or half a folder."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def user_cache() -> Path:
    """LightToken's folder in the user's cache, whether or not it is there."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lighttoken"


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; rename it to ``path`` when the block succeeds.

    Whatever ends the block early (an error, a full disk, Ctrl-C) removes the temporary file.
    """
    _need_parent(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o644)  # mkstemp makes files private; an output is an ordinary file
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def folder_aside(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it becomes ``path`` when the block succeeds.

    Raises:
        InputError: ``path`` exists and ``force`` is not given. With ``force`` the old folder is
            replaced only after the new one is complete.
    """
    if path.exists() and not force:
        raise InputError(f"{path} exists; pass --force to replace it or choose another name")
    _need_parent(path)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        _swap_in(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _swap_in(aside: Path, path: Path) -> None:
    if not path.exists():
        aside.rename(path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old.")) / path.name
    try:
        path.rename(old)
        aside.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _need_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"folder {path.parent} is not here; create it first")


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
