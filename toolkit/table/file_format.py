"""The file format: safetensors with one metadata entry, ``lighttoken``, a JSON text.

One entry only, because safetensors keeps metadata in a hash map of no fixed order and equal
embeddings must give equal bytes. The version rises when an old reader could misread a new file: 2
has rows that are marked as zero, and files without any stay at 1.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from ..errors import FormatError
from ..json_files import JsonError, parse_json
from ..quiet import first_line
from .components import (
    ColumnDecoder,
    Decoder,
    DenseDecoder,
    Gain,
    LowRank,
    RowOrder,
    Stage,
    Zeros,
)

FORMAT_VERSION = 2
_KEY = "lighttoken"

Take = Callable[[str], NDArray[Any]]
TakeScale = Callable[[str], NDArray[Any] | None]

_DTYPES = {
    "mean": np.float32,
    "scale": np.float32,
    "starts": np.int32,
    "codes": np.uint8,
    "codebook": np.int8,
    "levels": np.float32,
    "tail": np.float32,
    "zeros": np.uint8,
}


def to_bytes(
    tensors: Iterable[tuple[str, NDArray[Any]]],
    *,
    rows: int,
    width: int,
    block: int | None,
    stages: Sequence[Stage],
) -> bytes:
    """The file of a table with these tensors; deterministic."""
    held = {name: np.ascontiguousarray(tensor) for name, tensor in tensors}
    record = {
        "version": FORMAT_VERSION if "zeros" in held else 1,
        "rows": rows,
        "width": width,
        "block": block,
        "stages": [
            {
                "latents": stage.decoder.latents,
                "decoder": "dense" if isinstance(stage.decoder, DenseDecoder) else "columns",
            }
            for stage in stages
        ],
    }
    return serialize(held, metadata={_KEY: json.dumps(record, sort_keys=True)})


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of the :class:`.embedding.CompressedEmbedding` in a file; dtypes are checked.

    Raises:
        FormatError: missing, damaged, no LightToken file, or of a newer format version.
    """
    if not path.is_file():
        raise FormatError(f"{path} is not here; give the file that `lighttoken compress` wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise FormatError(
                    f"{path} holds no LightToken embedding; was it made by another tool?"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        record = parse_json(text, strict=True)
        if not isinstance(record, dict):
            raise FormatError(f"{path} has a damaged header (no mapping); copy it again")
        return _build(record, tensors, path)
    except (SafetensorError, OSError, JsonError) as error:
        raise FormatError(f"{path} cannot be read ({first_line(error)}); copy it again") from error


def _build(record: dict[str, Any], tensors: dict[str, NDArray[Any]], path: Path) -> dict[str, Any]:
    version = record.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise FormatError(
            f"{path} has format version {version}, this lighttoken reads up to {FORMAT_VERSION}; "
            "upgrade with `pip install -U lighttoken`"
        )

    def take(name: str) -> NDArray[Any]:
        prefix, _, kind = name.rpartition(".")
        # Matrices are int8 beside a scale, and float32 without one.
        matrix = np.int8 if f"{prefix}.scale" in tensors else np.float32
        tensor, dtype = tensors.get(name), _DTYPES.get(kind, matrix)
        if tensor is None or tensor.dtype != dtype:
            found = "nothing" if tensor is None else str(tensor.dtype)
            raise FormatError(f"{path}: tensor {name} should be {np.dtype(dtype)}, found {found}")
        return tensor

    def scale(prefix: str) -> NDArray[Any] | None:
        return take(f"{prefix}.scale") if f"{prefix}.scale" in tensors else None

    try:
        stages = tuple(
            Stage(
                take(f"stages.{i}.codes"),
                _decoder(entry, f"stages.{i}", take, scale),
                take(f"stages.{i}.codebook") if f"stages.{i}.codebook" in tensors else None,
            )
            for i, entry in enumerate(record["stages"])
        )
        block = record["block"]
        return {
            "rows": record["rows"],
            "width": record["width"],
            "mean": take("mean"),
            "stages": stages,
            "lowrank": LowRank(take("lowrank.left"), take("lowrank.right"), scale("lowrank"))
            if "lowrank.left" in tensors
            else None,
            "order": RowOrder(take("order.starts"), block) if block else None,
            "gain": Gain(take("gain.codes"), take("gain.levels"))
            if "gain.codes" in tensors
            else None,
            "tail": take("tail") if "tail" in tensors else None,
            "zeros": Zeros(take("zeros")) if "zeros" in tensors else None,
        }
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise FormatError(f"{path} has a damaged header ({error!r}); copy it again") from error


def _decoder(entry: dict[str, Any], prefix: str, take: Take, scale: TakeScale) -> Decoder:
    kind, latents = entry["decoder"], entry["latents"]
    decoder: Decoder
    if kind == "dense":
        decoder = DenseDecoder(take(f"{prefix}.weight"), scale(prefix))
    elif kind == "columns":
        decoder = ColumnDecoder(take(f"{prefix}.scale"))
    else:
        raise FormatError(f"decoder kind {kind!r} is unknown here; upgrade lighttoken")
    if decoder.latents != latents:
        raise FormatError(
            f"{prefix} says {latents} latent values and holds a decoder of {decoder.latents}"
        )
    return decoder
