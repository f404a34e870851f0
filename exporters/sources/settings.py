"""Small JSON files beside a model, which may be damaged or somebody else's."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from toolkit import json_files
from toolkit.errors import InputError

_Kind = TypeVar("_Kind", dict[str, Any], list[Any])


@dataclass
class Settings:
    """Reads the files of a folder, and keeps what a user should know of them.

    Attributes:
        folder: where they are.
        strict: what cannot be read ends the work. It does not beside an .onnx file, which runs
            without: there a line in ``notes`` says that it was not read.
        notes: one line each.
        unread: names of files that are there and were not read.
    """

    folder: Path
    strict: bool = True
    notes: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def read(self, name: str) -> dict[str, Any]:
        """A file's object; empty if it is not there, or was not read.

        Raises:
            InputError: strict, and it is damaged.
        """
        return self._read(name, json_files.read_json) or {}

    def read_list(self, name: str) -> list[Any]:
        """A file's list; as :meth:`read`."""
        return self._read(name, json_files.read_json_list) or []

    def _read(self, name: str, read: Callable[..., _Kind]) -> _Kind | None:
        if name in self.unread:
            return None
        try:
            return read(self.folder / name, error=InputError, remedy="download the model again")
        except InputError as error:
            if self.strict:
                raise
            self._leave_out(name, str(error).removeprefix(f"{self.folder / name} "))
            return None

    def refuse(self, name: str, why: str) -> None:
        """Say that a file holds what it should not: ``why`` goes on after its path.

        Raises:
            InputError: strict.
        """
        if self.strict:
            raise InputError(f"{self.folder / name} {why}")
        self._leave_out(name, why)

    def _leave_out(self, name: str, why: str) -> None:
        """``why`` as errors say it, with what to do after a semicolon, which is not said."""
        self.unread.add(name)
        self.notes.append(f"{name} beside the model {why.split(';')[0]}; it is left out")
