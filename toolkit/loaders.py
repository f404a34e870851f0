"""What a model's settings may not ask of the libraries that load it.

transformers does what config.json and tokenizer_config.json say: some keys make it read another
file, or fetch code and run it, whether or not that code is trusted. Models may come from anyone, so
these keys are looked at before any library is.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError
from .inside import is_in_folder, is_no_part
from .json_files import JsonError, load_json

_CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_TOKENIZERS = ("tokenizer_config.json", "special_tokens_map.json")
_WEIGHTS = "transformers_weights"
_CODE = re.compile("(attn|experts)_implementation")
# What tokenizers call the files that they are made from; a list of values without names too.
_FILES = re.compile("(file|spm|vocab|init_inputs)$")
_LONGEST = 4096  # letters of a path
# transformers makes every layer before it looks at the weights: a few letters take all memory.
_LAYERS = re.compile(r"(^|(?<!per)_)layers?$")
_MOST_LAYERS = 10_000


def check_loading(folder: Path) -> None:
    """Whether libraries that load the model in ``folder`` keep to it. Damaged files are not judged.

    Raises:
        InputError: config.json names weights elsewhere, or code of a repository that computes
            attention, or more layers than any model has; a file of a tokenizer is elsewhere; the
            weights are another model's adapter.
    """
    if (folder / _ADAPTER).is_file():
        raise InputError(
            f"{folder} is an adapter (it holds {_ADAPTER}), whose model is elsewhere; merge the "
            "two first (PEFT's merge_and_unload)"
        )
    for key, value in _leaves(folder / _CONFIG):
        if isinstance(value, int):
            if _LAYERS.search(key) and value > _MOST_LAYERS:
                raise InputError(
                    f"{folder / _CONFIG} says {key} {value:,}, more than any model has "
                    f"({_MOST_LAYERS:,} at most here); download the model again"
                )
            continue
        outside = is_no_part(value) or "/" in value
        if key == _WEIGHTS and outside:
            raise InputError(
                f"{folder / _CONFIG} names the weights {value[:80]!r}, outside of its folder; "
                "download the model again"
            )
        if _CODE.search(key) and "/" in value:
            raise InputError(
                f"{folder / _CONFIG} asks for code of {value[:80]!r} to be fetched and run; set "
                f"{key} to eager"
            )
    check_tokenizer(folder)


def check_tokenizer(folder: Path) -> None:
    """Whether a tokenizer is read from files of ``folder`` alone.

    Names of files that are not there, as of the machine that a model was trained on, do no harm.

    Raises:
        InputError: its settings name a file that is elsewhere.
    """
    for name in _TOKENIZERS:
        for key, value in _leaves(folder / name):
            if isinstance(value, int) or not _FILES.search(key) or not _is_file(value):
                continue
            if not is_in_folder(Path(value), folder):
                raise InputError(
                    f"{folder / name} names the file {value!r} as {key}, outside of its folder; "
                    "remove that line if the model is yours"
                )


def _is_file(name: str) -> bool:
    if len(name) > _LONGEST or "\0" in name:
        return False
    try:
        return Path(name).is_file()
    except OSError:  # a part that is too long
        return False


def _leaves(path: Path) -> Iterator[tuple[str, str | int]]:
    """Each string and whole number in a JSON file, at any depth, with the outermost key that it is
    below of those that matter here, else its own."""
    try:
        data = load_json(path) if path.is_file() else None
    except (JsonError, OSError):
        return
    yield from _below(data, "")


def _below(data: Any, key: str) -> Iterator[tuple[str, str | int]]:
    if isinstance(data, str | int):
        yield key, data
    elif isinstance(data, list):
        for value in data:
            yield from _below(value, key)
    elif isinstance(data, dict):
        for name, value in data.items():
            matters = _CODE.search(key) or _FILES.search(key)
            yield from _below(value, key if matters else name)
