"""A model folder without the tokens that are not wanted: weights, settings and tokenizer.

Tokens that stay keep their order and are numbered anew. Whatever a model computes of them it
computes as before: only rows that nothing asks for are gone, in the table and in an output head.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.generation import GENERATION_CONFIG
from toolkit.bundle.manifest import StoredVocabulary
from toolkit.errors import InputError
from toolkit.quiet import first_line

from ..sources.facts import CONFIG, read_json
from ..sources.folder_files import (
    ADDED_TOKENS,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    replaced_files,
    slow_files,
)
from .choose import TEXT, Wanted, choose_tokens, tokenizer_text
from .settings import ids_in, rows_of, with_new_ids

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = 5  # languages of a note
_FLOAT = 4  # bytes
_FURTHER = "additional_special_tokens"
_LEFT_OUT = (".onnx", ".bin", ".safetensors", ".h5", ".msgpack", ".ot", ".gguf", ".tflite")


@dataclass(frozen=True, eq=False)
class Cut:
    """What became of a vocabulary.

    Attributes:
        folder: the model with fewer tokens.
        languages: that it was cut to; () for those of a text alone.
        rows: of the whole table.
        kept: ids in it of the tokens that stayed, int64, rising.
        importance: of each of these, float64: its share of text in the mean language.
        by_language: tokens that each language needs for itself.
        nbytes: that are gone, in float32.
    """

    folder: Path
    languages: tuple[str, ...]
    rows: int
    kept: NDArray[np.int64]
    importance: NDArray[np.float64]
    by_language: dict[str, int]
    nbytes: int

    def described(self) -> StoredVocabulary:
        """For the manifest."""
        return StoredVocabulary(self.languages, self.rows)

    @property
    def note(self) -> str:
        """A line for people."""
        shown = list(self.by_language.items())[:_SHOWN]
        each = ", ".join(f"{name} {count:,}" for name, count in shown)
        if len(self.by_language) > _SHOWN:
            each += f", and {len(self.by_language) - _SHOWN} languages more"
        return (
            f"the vocabulary was cut from {self.rows:,} to {len(self.kept):,} tokens"
            f"{f' ({each})' if each else ''}: other languages are written letter by "
            "letter, or as unknown"
        )


def cut_folder(folder: Path, wanted: Wanted, work: Path) -> Cut:
    """Write the model of ``folder`` with the tokens ``wanted`` into the new folder ``work``.

    Raises:
        InputError: a language without a list, a tokenizer, settings or weights that cannot be cut;
            each says why.
    """
    config = read_json(folder / CONFIG)
    rows = rows_of(config, f"{folder.name}/{CONFIG}")
    named = ids_in(config)
    if (folder / GENERATION_CONFIG).is_file():
        named |= ids_in(read_json(folder / GENERATION_CONFIG))
    if slow_files(folder):
        raise InputError(
            f"the tokenizer of {folder.name} is in {slow_files(folder)[0]}, which cannot be cut to "
            "some languages; leave --languages and --vocabulary out"
        )
    choice = choose_tokens(folder, replace(wanted, also=wanted.also | named))
    kept = choice.kept[choice.kept < rows]
    if len(kept) < len(choice.kept):
        raise InputError(
            f"the tokenizer of {folder.name} has tokens from {rows:,} on, which its table has no "
            "row for; give a model whose two halves belong together"
        )
    work.mkdir(parents=True)
    nbytes = _cut_weights(folder, work, kept, rows)
    places = {int(old): new for new, old in enumerate(kept)}
    _write_settings(folder, work, places)
    _write_tokenizer_settings(folder, work, places, set(_added(choice.data)))
    (work / TOKENIZER).write_text(tokenizer_text(choice.data), encoding="utf-8")
    _take_along(folder, work)
    return Cut(
        work,
        tuple(name for name in choice.by_language if name != TEXT),
        rows,
        kept,
        choice.importance,
        dict(choice.by_language),
        nbytes,
    )


def _cut_weights(folder: Path, work: Path, kept: NDArray[np.int64], rows: int) -> int:
    """Write every file of weights as safetensors, rows of tokens cut; bytes in float32 that go."""
    import torch
    from safetensors.torch import save_file

    chosen = torch.from_numpy(kept)
    files = [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]
    cut: list[Tensor] = []
    where: dict[str, str] = {}
    for number, path in enumerate(files, start=1):
        tensors = {}
        for name, values in _tensors(path):
            left = values
            for axis in [axis for axis, size in enumerate(values.shape) if size == rows]:
                left = left.index_select(axis, chosen)
            if left is values:  # may share its memory, which safetensors does not write
                left = values.clone(memory_format=torch.contiguous_format)
            elif not any(_same(values, other) for other in cut):
                cut.append(values)  # a tied head may be stored too, and counts once
            tensors[name] = left
        one = len(files) == 1
        target = "model.safetensors" if one else f"model-{number:05}-of-{len(files):05}.safetensors"
        save_file(tensors, work / target, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, target)
    if not cut:
        raise InputError(
            f"no weights of {folder.name} have {rows:,} rows, as many as its config.json tells; "
            "leave --languages and --vocabulary out"
        )
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": where}
        (work / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return sum(values.numel() // rows * (rows - len(kept)) * _FLOAT for values in cut)


def _same(one: "Tensor", other: "Tensor") -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _tensors(path: Path) -> "Iterator[tuple[str, Tensor]]":
    """Every tensor of a file, by name.

    Raises:
        InputError: the file is damaged.
    """
    import torch
    from safetensors import safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as held:
                for name in held.keys():  # noqa: SIM118
                    yield name, held.get_tensor(name)
        else:
            yield from torch.load(path, map_location="cpu", weights_only=True, mmap=True).items()
    except Exception as error:  # whatever a file of anyone makes of the two libraries
        raise InputError(
            f"{path.name} is damaged ({first_line(error)}); download the model again"
        ) from error


def _write_settings(folder: Path, work: Path, places: dict[int, int]) -> None:
    for name in (CONFIG, GENERATION_CONFIG):
        if (folder / name).is_file():
            _write(work / name, with_new_ids(read_json(folder / name), places, len(places)))


def _write_tokenizer_settings(
    folder: Path, work: Path, places: dict[int, int], added: set[str]
) -> None:
    """What transformers knows of added tokens, by id and by name; ``added`` are those that stay."""
    for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        if not (folder / name).is_file():
            continue
        told = read_json(folder / name)
        by_id = told.get("added_tokens_decoder")
        if isinstance(by_id, dict):
            told["added_tokens_decoder"] = {
                str(places[int(id_)]): token for id_, token in by_id.items() if int(id_) in places
            }
        further = told.get(_FURTHER)
        if isinstance(further, list):
            told[_FURTHER] = [token for token in further if _content(token) in added]
        _write(work / name, told)


def _added(data: dict[str, Any]) -> Iterator[str]:
    yield from (str(each["content"]) for each in data["added_tokens"])


def _content(token: Any) -> str:
    """Of an added token: a word, or its settings."""
    return str(token.get("content") if isinstance(token, dict) else token)


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")


def _take_along(folder: Path, work: Path) -> None:
    """Whatever else is in the folder, but other forms of the weights and of the tokenizer."""
    replaced = {*replaced_files(folder), ADDED_TOKENS}
    for path in sorted(folder.iterdir()):
        target = work / path.name
        if target.exists() or path.name.startswith(".") or path.name in replaced:
            continue
        if path.is_dir():
            if not any(path.glob("*.onnx")):
                shutil.copytree(path, target)
        elif path.suffix not in _LEFT_OUT and not path.name.endswith(".index.json"):
            shutil.copyfile(path, target)
