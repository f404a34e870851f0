"""A head that config.json calls the table, though the model's files hold another matrix for it.

transformers 4 then takes one for both without a word. Here values decide: all of them are compared.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.errors import InputError

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")


def keep_two(model: Any, folder: Path) -> None:
    """Give a model of transformers the head that its files hold, in place.

    Nothing is done where the model has no head, where head and table are two already, and where
    the files hold one of them or the same values twice.

    Raises:
        InputError: of an encoder-decoder, whose code scales hidden states where config.json calls
            the two one: which is right, the files do not say.
    """
    head, table = _modules(model)
    found = None if head is None else _two(model, folder)
    if head is None or found is None:
        return
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{_named(model, folder)}; set tie_word_embeddings there to what is right")
    stored_head, stored_table = found
    head.weight = nn.Parameter(stored_head.to(table.weight.dtype), requires_grad=False)
    with torch.no_grad():
        table.weight.copy_(stored_table)
    model.config.tie_word_embeddings = False


def refuse_two(kind: Any, folder: Path, remedy: str) -> None:
    """Raise InputError where config.json calls two matrices one that differ in the files.

    For exporters that load the model themselves. ``kind``: its class in transformers.
    """
    config = kind.config_class.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    with torch.device("meta"):
        model = kind(config)
    if _modules(model)[0] is not None and _two(model, folder) is not None:
        raise InputError(f"{_named(model, folder)}; {remedy}")


def _modules(model: Any) -> tuple[Any, Any]:
    """Head and table where one weight serves as both; None and None elsewhere."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    weight = getattr(head, "weight", None)
    return (head, table) if weight is not None and weight is table.weight else (None, None)


def _two(model: Any, folder: Path) -> tuple[Tensor, Tensor] | None:
    """Head and table as the files hold them; None unless both are there and differ."""
    head, table = (_stored(folder, name) for name in _names(model))
    if head is None or table is None or torch.equal(head, table):
        return None
    return head, table


def _names(model: Any) -> list[str]:
    """What the model calls the weights of head and table."""
    modules = {module: name for name, module in model.named_modules()}
    return [f"{modules[each]}.weight" for each in _modules(model)]


def _named(model: Any, folder: Path) -> str:
    head, table = _names(model)
    return (
        f"config.json of {folder.name} says that {head} is {table}, and its files hold two that "
        "differ"
    )


def _stored(folder: Path, name: str) -> Tensor | None:
    """The tensor of this name, which files may write with another beginning."""
    like = [
        (known, read)
        for known, read in _tensors(folder)
        if known == name or known.endswith(f".{name}") or name.endswith(f".{known}")
    ]
    like.sort(key=lambda each: (each[0] != name, len(each[0])))
    return like[0][1]() if like else None


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name of each tensor of a model's files, and a function that reads it."""
    from safetensors import safe_open

    safe, pickled = (sorted(folder.glob(pattern)) for pattern in _PATTERNS)
    for path in safe:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no dictionary)
                yield name, lambda name=name, path=path: _read(path, name)
    for path in pickled if not safe else ():
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        for name, tensor in held.items():
            yield name, lambda tensor=tensor: tensor


def _read(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor
