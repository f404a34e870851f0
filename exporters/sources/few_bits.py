"""Folders whose weights have few bits: floats of 8 bits and integers with scales become float32.

transformers runs such weights on a GPU, or not at all. Here they are what they stand for: FP8 as
DeepSeek and Qwen publish it (``weight_scale_inv``, a scale a block), and compressed-tensors' floats
and integers of 8 bits (``weight_scale``, one scale, one a row, or one a block).
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InputError

from .facts import CONFIG, read_json

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "quantization_config"
_METHODS = ("fp8", "compressed-tensors", "fbgemm_fp8")
_SCALES = ("_scale_inv", "_scale")  # behind the weight's name; both are multiplied by
_OTHERS = ("input_scale", "output_scale", "k_scale", "v_scale", "_shape", "_g_idx")
_ZERO = "_zero_point"
_BLOCK = [128, 128]
_INDEX = "model.safetensors.index.json"


def in_floats(folder: Path, work: Path) -> Path:
    """``folder`` itself; of one whose weights have few bits a copy of it in ``work``, in float32.

    Raises:
        InputError: weights packed in a way that is not known here.
    """
    files = sorted(folder.glob("*.safetensors"))
    config = read_json(folder / CONFIG)
    method = (config.get(_KEY) or {}).get("quant_method")
    if method is not None and (method not in _METHODS or not files):
        raise InputError(
            f"the weights of {folder.name} are packed by {method}; give the model that they were "
            "made from"
        )
    if method is None and not any(_has_short_floats(path) for path in files):
        return folder
    work.mkdir(parents=True)
    for path in folder.iterdir():
        if path not in files and path.name not in (CONFIG, _INDEX):
            (work / path.name).symlink_to(path.resolve())
    left = {key: value for key, value in config.items() if key not in (_KEY, "torch_dtype")}
    (work / CONFIG).write_text(json.dumps(left | {"dtype": "float32"}, indent=2), encoding="utf-8")
    block = _block(config.get(_KEY) or {})
    names = {path.name: _convert(path, work / path.name, block) for path in files}
    if (folder / _INDEX).is_file():
        where = {tensor: name for name, tensors in names.items() for tensor in tensors}
        index = read_json(folder / _INDEX) | {"weight_map": where}
        (work / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return work


def _has_short_floats(path: Path) -> bool:
    """Whether a file holds floats of 8 bits; its header says so. A damaged one holds none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as held:
            kinds = [held.get_slice(name).get_dtype() for name in held.keys()]  # noqa: SIM118
    except SafetensorError:
        return False
    return any(kind.startswith("F8") for kind in kinds)


def _block(settings: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns that share a scale, where these are blocks."""
    groups = settings.get("config_groups") or {}
    weights = [group.get("weights") or {} for group in groups.values()]
    named = [settings.get("weight_block_size"), *(each.get("block_structure") for each in weights)]
    found = next((size for size in named if isinstance(size, list) and len(size) == 2), _BLOCK)
    return int(found[0]), int(found[1])


def _convert(path: Path, target: Path, block: tuple[int, int]) -> list[str]:
    """Write ``path`` again without scales; the names of its tensors."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as held:
        names = set(held.keys())
        tensors = dict(_plain(held, names, block, path))
        metadata = held.metadata()
    save_file(tensors, target, metadata=metadata)
    return list(tensors)


def _plain(
    held: Any, names: set[str], block: tuple[int, int], path: Path
) -> "Iterator[tuple[str, Tensor]]":
    import torch

    scales = {f"{name}{end}" for name in names for end in _SCALES} & names
    for name in sorted(names - scales):
        if name.endswith("_packed"):
            raise InputError(
                f"{path.name} holds {name}, several numbers to a byte; give the model that it was "
                "made from"
            )
        if name.endswith(_ZERO) and held.get_tensor(name).any():
            raise InputError(
                f"{path.name} holds {name}, zero points, which are not known here; give the model "
                "that it was made from"
            )
        if name.endswith((*_OTHERS, _ZERO)):
            continue
        values = held.get_tensor(name)
        scale = next((f"{name}{end}" for end in _SCALES if f"{name}{end}" in names), None)
        if scale is not None:
            values = _scaled(values.float(), held.get_tensor(scale).float(), block, path, name)
        elif values.dtype.is_floating_point:
            values = values.float()
        elif values.dtype == torch.int8:
            raise InputError(f"{path.name} holds {name} in int8 and no scale of it; download again")
        yield name, values


def _scaled(
    values: "Tensor", scale: "Tensor", block: tuple[int, int], path: Path, name: str
) -> "Tensor":
    """``values`` [n, k] times one scale, a scale a row, or a scale for each ``block`` of them."""
    if scale.numel() == 1:
        return values * scale.reshape(())
    if scale.ndim == 1 and len(scale) == len(values):
        scale = scale[:, None]
    fits = values.ndim == scale.ndim == 2
    for axis, size in enumerate(block if fits else ()):
        length, count = values.shape[axis], scale.shape[axis]
        if count in (1, length):
            continue
        fits = fits and count == math.ceil(length / size)
        scale = scale.repeat_interleave(size, axis).narrow(axis, 0, length) if fits else scale
    if not fits:
        raise InputError(
            f"{path.name} holds {name} {list(values.shape)} with scales {list(scale.shape)}, a "
            "form that is not known here; give the model that it was made from"
        )
    return values * scale
