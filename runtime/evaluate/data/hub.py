"""Data sets of the Hugging Face hub, where the package ``datasets`` is installed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import InputError, MissingDependencyError
from toolkit.ort import one_line

_ID = re.compile(r"[\w.-]+(/[\w.-]+){0,2}:[\w.+%\[\]:-]+")


@dataclass(frozen=True, eq=False)
class DataSet:
    """One split: ``rows`` are mappings by column.

    ``classes``: names of the classes of each column of class labels, in the order of its numbers.
    """

    names: tuple[str, ...]
    rows: Iterable[Mapping[str, Any]]
    classes: Mapping[str, tuple[str, ...]]


def is_data_set(given: str) -> bool:
    """Whether it reads as «name[/config]:split», the name with or without its owner."""
    return _ID.fullmatch(given) is not None


def data_set(given: str) -> DataSet:
    """Load «name[/config]:split», such as ``nyu-mll/glue/sst2:validation``.

    Of two names the second may be a configuration or the first an owner; the hub is asked for the
    owner's data set first.

    Raises:
        MissingDependencyError: no package datasets, or no way to the hub.
        InputError: the hub does not know it, or not this configuration or split.
    """
    try:
        import datasets
        from datasets.exceptions import (
            DatasetNotFoundError,
            DatasetsError,
        )
    except ImportError as error:
        raise MissingDependencyError(
            f"{given} is read as a data set of the Hugging Face hub, for which the package "
            f"datasets is needed ({one_line(error)}); install it with `pip install datasets`, or "
            "give a file"
        ) from error
    name, split = given.split(":", 1)
    parts = name.split("/")
    tries: list[tuple[str, str | None]] = [(name, None)] if len(parts) < 3 else []
    if len(parts) > 1:
        tries.append(("/".join(parts[:-1]), parts[-1]))
    for number, (path, config) in enumerate(tries):
        try:
            found = datasets.load_dataset(path, config, split=split)
            break
        except DatasetNotFoundError as error:
            if number == len(tries) - 1:
                raise InputError(
                    f"the hub knows no data set {name} ({one_line(error)}); check its name"
                ) from error
        except ConnectionError as error:
            raise MissingDependencyError(
                f"the Hugging Face hub cannot be reached for {given} ({one_line(error)}); "
                "give a file"
            ) from error
        except (DatasetsError, ValueError, OSError, RuntimeError) as error:
            raise InputError(
                f"{given} cannot be loaded ({one_line(error)}); write name/config:split"
            ) from error
    classes = {
        column: tuple(feature.names)
        for column, feature in found.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return DataSet(tuple(found.column_names), found, classes)
