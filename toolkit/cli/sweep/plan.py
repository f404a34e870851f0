"""The file that says what a sweep is to try: models, export options, what to measure by."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.visible import visible

Value = str | int | float | bool
Grid = Mapping[str, tuple[Value, ...]]
"""Values to try, by option."""

FORMATS = (".yaml", ".yml", ".toml")
_PARTS = ("models", "export", "evaluate")
_MOST_BYTES = 1 << 20  # people write such files
_LIKE = "write a list such as [12, 25]"


@dataclass(frozen=True)
class Plan:
    """What a file asks for; whether the options are there is checked by :mod:`.cells`.

    Attributes:
        path: the file.
        models: folders, hub ids, .onnx files, as they are named.
        grids: each gives a cell for every combination of its values; all of them together.
        evaluate: options of the evaluation, a value or a list of them; None for none.
    """

    path: Path
    models: tuple[str, ...]
    grids: tuple[Grid, ...]
    evaluate: Mapping[str, Value | tuple[Value, ...]] | None


def read_plan(path: Path) -> Plan:
    """Read a .yaml or .toml file.

    Raises:
        InputError: no such file, or no plan; one line on what is amiss.
        MissingDependencyError: a .yaml file, and nothing that reads it.
    """
    data = _read(path)
    if not isinstance(data, Mapping):
        what = "is empty" if data is None else f"holds {_kind(data)}, no mapping"
        raise InputError(f"{path} {what}; write `models:` with a list, `export:` and `evaluate:`")
    for key in data:
        if key not in _PARTS:
            raise InputError(f"{path}: {_shown(key)} is unknown; use {', '.join(_PARTS)}")
    export = data.get("export") or {}
    grids = export if isinstance(export, list) else [export]
    return Plan(
        path,
        _models(path, data.get("models")),
        tuple(_grid(path, grid) for grid in grids) or ({},),
        _evaluate(path, data.get("evaluate")),
    )


def _read(path: Path) -> Any:
    if path.suffix not in FORMATS:
        raise InputError(f"{path} is no plan by its name; give a file in .yaml or .toml")
    if not path.is_file():
        raise InputError(f"{path} is not here; give a file in .yaml or .toml")
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES:,} bytes; give a plan")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error}); convert it") from error
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text) or None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{path} is no TOML ({error}); repair it") from error
    return _yaml(path, text)


def _yaml(path: Path, text: str) -> Any:
    require("sweep")
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Refuses a key that stands twice, of which YAML's own would take the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
            if twice is not None:
                raise InputError(f"{path}: {_shown(twice)} stands twice; leave one of them out")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        told = getattr(error, "problem", None) or type(error).__name__
        raise InputError(f"{path} is no YAML ({told}{where}); repair it") from error


def _models(path: Path, given: Any) -> tuple[str, ...]:
    models = [given] if isinstance(given, str) else given
    if not models:
        raise InputError(f"{path} names no models; add `models:` with a list of folders or hub ids")
    if not isinstance(models, list) or not all(isinstance(one, str) and one for one in models):
        raise InputError(
            f"{path}: models should be a list of folders, hub ids or .onnx files; say so, each in "
            "quotes"
        )
    return tuple(models)


def _grid(path: Path, given: Any) -> Grid:
    grid = _options(path, "export", given)
    for name, values in grid.items():
        if not values:
            raise InputError(f"{path}: export {name} has an empty list; {_LIKE}, or leave it out")
    return grid


def _evaluate(path: Path, given: Any) -> Mapping[str, Value | tuple[Value, ...]] | None:
    if given is None:
        return None
    several = _options(path, "evaluate", given)
    return {
        name: values if isinstance(given[key], list) else values[0]
        for key, (name, values) in zip(given, several.items(), strict=True)
    }


def _options(path: Path, part: str, given: Any) -> dict[str, tuple[Value, ...]]:
    """Each option's values, by its name with underscores."""
    if not isinstance(given, Mapping):
        raise InputError(
            f"{path}: {part} holds {_kind(given)}, no mapping; write options of `lighttoken {part}`"
        )
    found: dict[str, tuple[Value, ...]] = {}
    for key, value in given.items():
        if not isinstance(key, str):
            raise InputError(f"{path}: {part} {_shown(key)} is no option's name; use one in quotes")
        name = key.replace("-", "_")
        if name in found:
            raise InputError(f"{path}: {part} {name} stands twice; leave one of them out")
        values = value if isinstance(value, list) else [value]
        for one in values:
            if not isinstance(one, str | int | float):
                raise InputError(
                    f"{path}: {part} {_shown(key)} has {_kind(one)} where a text, a number, true "
                    "or false should be; set one of these, texts in quotes"
                )
        found[name] = tuple(values)
    return found


def _kind(value: Any) -> str:
    """What a value is, for people."""
    kinds = {Mapping: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    kinds |= {int: "a number", float: "a number", type(None): "nothing"}
    return next((word for kind, word in kinds.items() if isinstance(value, kind)), "a date")


def _shown(value: Any) -> str:
    text = visible(str(value))
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
