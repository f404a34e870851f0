"""The projection of a ColBERT model's token vectors: in the graph, or in folders beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..inside import is_no_part
from ..json_files import read_json_list
from .dense import Dense, dense_size, read_dense

MODULES = "modules.json"
_STATES = "last_hidden_state"  # the encoder's own output, by transformers' name


def dense_folders(modules: Sequence[Any]) -> tuple[str, ...]:
    """Folders of the Dense modules that modules.json names, in order; none that leads outside."""
    found = []
    for module in modules:
        kind, folder = (
            (str(module.get("type")), str(module.get("path")))
            if isinstance(module, dict)
            else ("", "")
        )
        if kind.rsplit(".", 1)[-1] == "Dense" and not is_no_part(folder):
            found.append(folder)
    return tuple(found)


def needed_projection(folder: Path, output: str, width: int | None) -> tuple[Dense, ...]:
    """What is still to be done to a graph's token vectors; () where the graph did it.

    Args:
        folder: of a model or a bundle, with its modules.json.
        output: name of the graph's output.
        width: of its vectors; None where the graph does not say.

    Raises:
        InputError: a file is missing or damaged, or the graph's vectors do not fit.
        FormatError: settings are damaged.
    """
    folders = [folder / name for name in dense_folders(read_json_list(folder / MODULES))]
    if not folders:
        return ()
    takes, gives = dense_size(folders[0]).inputs, dense_size(folders[-1]).outputs
    by_name = width is None or takes == gives
    if output != _STATES if by_name else width == gives:
        return ()
    if width not in (None, takes):
        raise InputError(
            f"the graph gives token vectors of {width} numbers, and {folders[0]} takes {takes}; "
            "export the model again"
        )
    return tuple(read_dense(each) for each in folders)
