"""What a plan comes to: every model with every combination of options, all checked first."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from exporters.options import OWN_TEXT, ExportOptions, decided
from toolkit.allocate.budget import Budget
from toolkit.errors import LightTokenError
from toolkit.limits import CELLS
from toolkit.progress import Progress
from toolkit.temporary import temporary_folder

from .. import evaluate as evaluate_verb
from .. import export as export_verb
from .contents import Contents, from_root, need
from .options import Options
from .plan import Grid, Plan, Value

_EXPORT = Options(export_verb.command, "export", ("force", "as_json"))
_EVALUATE = Options(evaluate_verb.command, "evaluate", ("model", "original", "as_json"))
_NAMED = ("pairs", "probe", "classify", "text", "qa", "against")  # that may name files
_TRUST = "trust_remote_code"
_NO_NAME = re.compile(r"[^a-z0-9.]+")
_LONGEST, _MARK = 60, 12  # letters of a cell's name, and of its digest behind it

Arguments = Mapping[str, Any]
"""Of :func:`toolkit.cli.evaluate.evaluate`, by name."""


@dataclass(frozen=True)
class Cell:
    """One export and its evaluation; it holds all that a worker needs, paths from the root on.

    Attributes:
        name: of its files: what is tried in it, and the start of ``identity``.
        identity: sha256 of all that its result depends on: this version, the options that differ
            from their defaults, and what is in the model and the files that they name.
        model: as the plan names it.
        source: the same for a worker.
        settings: the export options that the plan gives.
        budget, options: as :func:`exporters.export` takes them.
        evaluate: arguments of the evaluation; None for none.
    """

    name: str
    identity: str
    model: str
    source: str
    settings: Mapping[str, Value]
    budget: Budget | None
    options: ExportOptions
    evaluate: Arguments | None

    @property
    def mark(self) -> str:
        """What its files are found by."""
        return self.identity[:_MARK]


@dataclass(frozen=True)
class _Export:
    """A combination of options; ``changed`` are those that differ from their defaults."""

    settings: Mapping[str, Value]
    budget: Budget | None
    options: ExportOptions
    changed: Mapping[str, Any]


def cells_of(plan: Plan, progress: Progress) -> tuple[Cell, ...]:
    """Every cell once, in the plan's order: by model, then by grid.

    Models of the hub are fetched here, once, and texts are read to see whether they suit.

    Raises:
        LightTokenError: an option, a value, a model or a file that no export or evaluation takes:
            of the type that these have, in one line.
    """
    try:
        CELLS.check("cells of a plan", count_of(plan))
        evaluate, changed = (None, {}) if plan.evaluate is None else _read_evaluate(plan.evaluate)
        exports = [_read_export(settings) for grid in plan.grids for settings in _crossed(grid)]
        contents = Contents()
        cells: dict[str, Cell] = {}
        for number, model in enumerate(plan.models):
            progress(0.9 * number / len(plan.models), f"reading {model}")
            for export in exports:
                identity = _identity(model, export, None if evaluate is None else changed, contents)
                cells.setdefault(identity, _cell(model, export, evaluate, identity))
        progress(0.9, "reading what to measure by")
        _check_measures(cells.values())
    except LightTokenError as error:
        raise type(error)(f"{plan.path}: {error}") from error
    return tuple(cells.values())


def count_of(plan: Plan) -> int:
    """How many cells a plan has, those that repeat another too."""
    return len(plan.models) * sum(prod(map(len, grid.values())) for grid in plan.grids)


def _crossed(grid: Grid) -> Iterator[Mapping[str, Value]]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _read_export(settings: Mapping[str, Value]) -> _Export:
    """As the command line of ``export`` reads it, and with its files there."""
    params, changed = _EXPORT.read(settings)
    budget, options = export_verb.read_options(**params)
    decided(options)  # refuses what the target does not take
    if options.languages is not None:
        from exporters.vocabulary.words import known_languages

        known_languages(options.language_codes)
    paths: dict[str, Any] = {
        name: need(value, name)
        for name, value in vars(options).items()
        if isinstance(value, Path) and not (name == "heal" and str(value) == OWN_TEXT)
    }
    return _Export(settings, budget, replace(options, **paths), changed | paths)


def _read_evaluate(given: Mapping[str, Value | tuple[Value, ...]]) -> tuple[Arguments, Arguments]:
    """All arguments, and those that differ from their defaults."""
    params, changed = _EVALUATE.read(given)
    paths = {name: _from_root(params[name]) for name in _NAMED if params[name]}
    return params | paths, changed | paths


def _from_root(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return from_root(value) if isinstance(value, str) else tuple(map(from_root, value))


def _identity(model: str, export: _Export, measures: Arguments | None, contents: Contents) -> str:
    def plain(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(name, one) for one in value]
        if isinstance(value, Path) and value.is_absolute():
            return contents.of_path(value)
        if name in _NAMED and value:
            path = Path(value)
            if path.is_file() or (name == "against" and path.is_dir()):
                return contents.of_path(path)
        return value if isinstance(value, str | int | float | bool) else str(value)

    options = export.options
    what = {
        "version": version("lighttoken"),
        "model": contents.of_model(model, options.revision, code=options.trust_remote_code),
        "export": {name: plain(name, value) for name, value in export.changed.items()},
        "evaluate": None
        if measures is None
        else {name: plain(name, value) for name, value in measures.items()},
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _cell(model: str, export: _Export, evaluate: Arguments | None, identity: str) -> Cell:
    words = [Path(model).name, *(f"{name} {value}" for name, value in export.settings.items())]
    name = _NO_NAME.sub("-", " ".join(words).lower()).strip("-.")[:_LONGEST]
    if evaluate is not None:  # a bundle's original brings the same code
        trust = evaluate[_TRUST] or export.options.trust_remote_code
        evaluate = {**evaluate, _TRUST: trust}
    return Cell(
        f"{name}-{identity[:_MARK]}",
        identity,
        model,
        from_root(model),
        export.settings,
        export.budget,
        export.options,
        evaluate,
    )


def _check_measures(cells: Iterable[Cell]) -> None:
    """Raise for files that are amiss, and for measures that a model's task does not have."""
    from exporters.comparisons.evaluated import task_of_source
    from exporters.comparisons.quantised import WORDS
    from exporters.sources.source import find_folder
    from runtime.evaluate.data.files import read_files

    asked: dict[tuple[str, str | None, bool], Cell] = {}
    for cell in cells:
        key = cell.source, cell.options.revision, cell.options.trust_remote_code
        asked.setdefault(key, cell)
    tasks: set[str] = set()
    for (source, revision, trust), cell in asked.items():
        if cell.evaluate is None:
            continue
        with temporary_folder() as work:
            task = task_of_source(source, work, revision=revision, trust=trust)
        measures = {name: cell.evaluate[name] for name in (*_NAMED[:-1], "pseudo_perplexity")}
        files = evaluate_verb.files_of(**measures)
        files.check(task, cell.model)
        if task not in tasks:
            read_files(files, task, limit=cell.evaluate["limit"], seed=cell.evaluate["seed"])
            tasks.add(task)
        for word in cell.evaluate["against"]:
            if word not in WORDS and not Path(word).exists():
                find_folder(word, code=trust)
