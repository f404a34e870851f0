"""The hidden folder beside an output: where it is made, and where the old one waits meanwhile.

``.OUT.lighttoken-XXXXXXXX`` holds ``new``, which is being written; ``ready``, when it is complete;
``old``, what was at OUT before; ``trash``, what may go; and ``lock``. The process that writes holds
the lock, so that a later one sees whether it still runs: what a dead one left is tidied up.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from .errors import InputError
from .owned import Owned, foreign
from .renames import exchange, move_new

try:
    import fcntl
except ImportError:  # Windows: nobody can tell there whether the other one runs
    fcntl = None  # type: ignore[assignment]

_MARK = ".lighttoken-"
_LOCK = "lock"
_PARTS = {_LOCK, "new", "ready", "old", "trash"}
_FRESH_S = 60.0  # a folder without a lock that is older was left between two system calls


class Hidden:
    """The hidden folder of one run.

    Attributes:
        out: the output's path.
        folder: the hidden folder.
        new: what is being written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        while True:
            self.folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}{_MARK}"))
            try:
                self._lock = _lock_anew(self.folder / _LOCK)
            except OSError:  # a full disk
                self.folder.rmdir()
                raise
            if self._lock is not None:
                break  # else another run took it for a dead one's and removed it: again
        self.new = self.folder / "new"
        self._ready, self._old, self._trash = (
            self.folder / name for name in ("ready", "old", "trash")
        )
        self._holds_old = False  # ``ready`` may be what was at OUT, so it is not removed
        try:
            self.new.mkdir()
        except OSError:
            self.remove()
            raise

    def put(self) -> None:
        """Make it the output, where nothing is.

        Raises:
            FileExistsError: something is there.
        """
        self.new.rename(self._ready)
        move_new(self._ready, self.out)

    def replace(self, owned: Owned) -> None:
        """Make it the output; the old one goes, if it still holds nothing that is foreign.

        Raises:
            InputError, FileExistsError, OSError: it could not; the old one is there again.
        """
        self.new.rename(self._ready)
        if exchange(self._ready, self.out):
            self._holds_old = True
            self._ready.rename(self._old)
            self._holds_old = False
        else:
            self.out.rename(self._old)
            try:
                move_new(self._ready, self.out)
            except BaseException:
                move_new(self._old, self.out)
                raise
        try:
            name = foreign(self._old, owned)
            if name is not None:
                raise InputError(f"{name} came into {self.out} meanwhile; move it away, run again")
        except BaseException:
            self._undo()
            raise
        self._old.rename(self._trash)

    def _undo(self) -> None:
        """The old one back in its place."""
        if exchange(self._old, self.out):
            self._old.rename(self._trash)
        else:
            self.out.rename(self._trash)
            move_new(self._old, self.out)

    @property
    def waiting(self) -> Path | None:
        """Where an old output is that could not go back to its place."""
        parts = (self._old, *([self._ready] if self._holds_old else []))
        return next((part for part in parts if part.exists()), None)

    def remove(self) -> None:
        """Remove all of it, but an old output that could not go back: a later run does that."""
        for part in (self.new, self._trash, *([] if self._holds_old else [self._ready])):
            shutil.rmtree(part, ignore_errors=True)
        if self.waiting is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock:
            os.close(self._lock)


def tidy(out: Path, owned: Owned) -> None:
    """Clean up after runs that were killed while they wrote ``out``; an old output comes back.

    Left as it is: what a run that is alive works in, and what may hold a file of the user's.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(out.parent)):
            if entry.name.startswith(f".{out.name}{_MARK}") and _is_own_folder(entry):
                with contextlib.suppress(OSError):
                    _tidy_one(Path(entry.path), out, owned)


def _tidy_one(folder: Path, out: Path, owned: Owned) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        if time.time() - folder.stat().st_mtime > _FRESH_S:
            folder.rmdir()  # fails if it is not empty
        return
    try:
        if fcntl is None:
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
        parts = list(folder.iterdir())
        if not {path.name for path in parts} <= _PARTS or any(path.is_symlink() for path in parts):
            return
        if (folder / "old").is_dir() and not os.path.lexists(out):
            move_new(folder / "old", out)
        for part in ("new", "trash"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for part in ("ready", "old"):  # either may be what was at OUT
            if (folder / part).is_dir() and _is_ours(folder / part, owned):
                (folder / part).rename(folder / "trash")
                shutil.rmtree(folder / "trash", ignore_errors=True)
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
    finally:
        os.close(lock)


def _is_ours(folder: Path, owned: Owned) -> bool:
    try:
        return foreign(folder, owned) is None
    except InputError:
        return False


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, no link, of the same user."""
    status = entry.stat(follow_symlinks=False)
    same = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISDIR(status.st_mode) and same


def _lock_anew(path: Path) -> int | None:
    """A new lock file's descriptor, locked; 0 where there are no locks; None if it is gone."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        return None
    if fcntl is None:
        os.close(lock)
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: nobody else can take it either
        return lock
    if path.exists():
        return lock
    os.close(lock)
    return None
