"""Weights that a model's files lack: transformers makes them up at random, and only warns."""

from collections.abc import Collection
from pathlib import Path

from toolkit.errors import InputError

_POOLER = "pooler"
_NAMED = 3  # of those that are missing


def check_whole(folder: Path, missing: Collection[str], task: str | None) -> None:
    """Refuse a model that would compute with numbers that nobody trained.

    A pooler may be missing where hidden states are what is wanted: many encoders are published
    without one, and ``pooler_output`` then means nothing.

    Args:
        folder: of the model.
        missing: names of weights that transformers looked for and did not find.
        task: the model's, where it is known.

    Raises:
        InputError: some are missing.
    """
    lacks = sorted(
        name
        for name in missing
        if not (task in (None, "feature-extraction") and _POOLER in name.split("."))
    )
    if not lacks:
        return
    more = f" and {len(lacks) - _NAMED} more" if len(lacks) > _NAMED else ""
    raise InputError(
        f"the files of {folder.name} lack weights of its architecture: "
        f"{', '.join(lacks[:_NAMED])}{more}; download the model again, or correct 'architectures' "
        "in config.json"
    )
