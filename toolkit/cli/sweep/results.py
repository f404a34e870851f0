"""What came of each cell: a file each, so that a sweep that is ended goes on from there."""

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError, InputError
from toolkit.files import write_aside
from toolkit.json_files import JsonError, load_json, to_dataclass
from toolkit.json_text import json_text
from toolkit.locks import only_one

from .cells import Cell

SCHEMA = 1
_LOCK = ".lighttoken-sweep"  # says whose folder it is, too
_CELLS, _BUNDLES = "cells", "bundles"


@dataclass(frozen=True)
class Range:
    """A figure and its 95% interval; None for what is no number."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Score:
    """As :class:`runtime.evaluate.figures.Figure` has it."""

    measure: str
    metric: str
    model: str
    score: Range
    difference: Range | None
    verdict: str | None
    higher_is_better: bool
    count: int


@dataclass(frozen=True)
class Measured:
    """A model and the bytes of its graph and weights."""

    name: str
    nbytes: int | None


@dataclass(frozen=True)
class Evaluation:
    """As :class:`runtime.evaluate.report.EvaluationReport` has it; the bundle's model is second."""

    schema: int
    task: str
    resamples: int
    seed: int
    models: tuple[Measured, ...]
    figures: tuple[Score, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Exported:
    """Of ``lighttoken export --json`` what is shown: the table's ratio, bytes of whole models."""

    ratio: float
    model_bytes: int
    original_model_bytes: int


@dataclass(frozen=True)
class CellResult:
    """What came of a cell.

    Attributes:
        schema: version of the form.
        name, identity, model, settings: the cell's.
        seconds: that it took.
        error: what went wrong, in one line; None for nothing.
        bundle_bytes: all files of the bundle.
        export: the figures of ``lighttoken export --json``, with its notes.
        evaluation: None where none was asked for.
    """

    schema: int
    name: str
    identity: str
    model: str
    settings: dict[str, str | int | float | bool]
    seconds: float = 0.0
    error: str | None = None
    bundle_bytes: int | None = None
    export: dict[str, Any] | None = None
    evaluation: Evaluation | None = None

    @property
    def exported(self) -> "Exported | None":
        """The figures of the export that are shown.

        Raises:
            FormatError: they are not there.
        """
        return None if self.export is None else to_dataclass(Exported, self.export, self.name)

    def is_of(self, cell: Cell) -> bool:
        """Whether it is in this form, and the cell's."""
        return (self.schema, self.identity) == (SCHEMA, cell.identity)

    @classmethod
    def of(cls, cell: Cell) -> "CellResult":
        """Of a cell of which nothing is known yet."""
        return cls(SCHEMA, cell.name, cell.identity, cell.model, dict(cell.settings))

    def with_(self, **changes: Any) -> "CellResult":
        """With other fields."""
        return replace(self, **changes)

    def failed(self, error: str) -> "CellResult":
        """With what went wrong."""
        return replace(self, error=error)


def read_evaluation(data: dict[str, Any]) -> Evaluation:
    """Of what ``lighttoken evaluate --json`` prints."""
    return to_dataclass(Evaluation, data, "evaluation")


class Store:
    """The folder OUT of a sweep; nothing is made before it is held.

    Raises:
        InputError: ``folder`` holds something else, or cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            if folder.is_symlink() or folder.exists():
                raise InputError(f"{folder} is no folder; choose another name")
            if not folder.absolute().parent.is_dir():
                raise InputError(f"folder {folder.parent} is not here; create it first")
        elif not (folder / _LOCK).is_file() and any(folder.iterdir()):
            raise InputError(f"{folder} holds files of something else; choose another name")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other sweeps out of it while the block runs.

        Raises:
            InputError: another one is in it.
        """
        self.folder.mkdir(exist_ok=True)
        refusal = f"another sweep works in {self.folder}; wait for its end, or choose another OUT"
        with only_one(self.folder / _LOCK, refusal):
            yield

    def bundles(self) -> Path:
        """The folder of bundles that are kept."""
        return self._below(_BUNDLES)

    def write(self, result: CellResult) -> None:
        """Keep a result; one of the cell that is there is replaced."""
        with write_aside(self._file(result.name)) as aside:
            aside.write_text(json_text(asdict(result)) + "\n", encoding="utf-8")

    def done(self, cells: Iterable[Cell], *, with_bundles: bool) -> dict[str, CellResult]:
        """Results by identity, of the cells that need not run again.

        A result that is damaged or failed is none, nor one whose bundle is wanted and not here.
        """
        found = {}
        for cell in cells:
            for file in sorted((self.folder / _CELLS).glob(f"*-{cell.mark}.json")):
                if (result := self._read(file, cell, with_bundles)) is not None:
                    found[cell.identity] = result
        return found

    def _read(self, file: Path, cell: Cell, with_bundle: bool) -> CellResult | None:
        """What a file says of the cell, as the plan calls it now."""
        with contextlib.suppress(OSError, JsonError, FormatError):
            data = load_json(file, strict=True)
            result = to_dataclass(CellResult, data, file.name)
            if with_bundle and not (self.folder / _BUNDLES / file.stem).is_dir():
                return None
            evaluated = (result.evaluation is not None) == (cell.evaluate is not None)
            whole = result.error is None and result.bundle_bytes is not None and evaluated
            if whole and result.exported and result.is_of(cell):
                return result.with_(model=cell.model, settings=dict(cell.settings))
        return None

    def _file(self, name: str) -> Path:
        return self._below(_CELLS) / f"{name}.json"

    def _below(self, name: str) -> Path:
        path = self.folder / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise InputError(f"{path} is no folder of a sweep; move it away, or choose another OUT")
        path.mkdir(exist_ok=True)
        return path
