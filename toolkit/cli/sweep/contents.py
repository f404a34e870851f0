"""What a plan names: whether it is there, where, and what is in it."""

import hashlib
import os
from pathlib import Path

from toolkit.errors import InputError
from toolkit.files import sha256

_BESIDE = (".json", ".txt", ".model")  # settings and tokenizers of an .onnx file


class Contents:
    """Digests of models and files, each read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], str] = {}

    def of_model(self, model: str, revision: str | None, *, code: bool) -> str:
        """Of a folder or an .onnx file its digest, of a hub id the commit, which is fetched.

        Raises:
            InputError: nothing is there, or the hub cannot be asked.
        """
        from exporters.sources.source import find_folder

        path = Path(model).expanduser()
        if path.is_file():
            return self.of_path(path)
        key = model, None if path.is_dir() else revision
        if key not in self._known:
            folder = find_folder(model, revision, code=code)
            self._known[key] = _of_folder(folder) if path.is_dir() else folder.resolve().name
        return self._known[key]

    def of_path(self, path: Path) -> str:
        """Of a folder, or of a file; of an .onnx file with the files that belong to it."""
        key = str(path), None
        if key not in self._known:
            self._known[key] = _of_folder(path) if path.is_dir() else _of_file(path)
        return self._known[key]


def from_root(name: str) -> str:
    """A path as every process may open it, if something is there; else the name as it is."""
    path = Path(name).expanduser()
    return str(path.absolute()) if name and path.exists() else name


def need(path: Path, name: str) -> Path:
    """The path from the root on.

    Raises:
        InputError: nothing is there, or a device or a pipe, which cannot be read twice.
    """
    found = path.expanduser()
    if not found.is_file() and not found.is_dir():
        raise InputError(f"{name} {path} is not here, or no file; give a file that is")
    return found.absolute()


def _of_file(path: Path) -> str:
    if path.suffix != ".onnx":
        return sha256(path)
    beside = (
        one
        for one in path.absolute().parent.iterdir()
        if one.is_file() and (one.name.startswith(path.name) or one.suffix in _BESIDE)
    )
    return _of_all({one.name: one for one in beside})


def _of_folder(folder: Path) -> str:
    """Of every file whose path has no hidden part; links are followed, as loaders do."""
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place) / name
            if not name.startswith(".") and path.is_file():
                found[path.relative_to(folder).as_posix()] = path
    return _of_all(found)


def _of_all(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name!r} {sha256(files[name])}\n".encode())
    return digest.hexdigest()
