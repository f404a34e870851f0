"""The arms of the comparison: token tables in the place of a model's own, and back.

An arm's codes are fixed. What can be trained is what they are read by: the floats of a packed
table, the scales of int4, the whole table of the model as it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rivals.rtn import RoundToNearest
from torch import Tensor, nn

from toolkit import CompressedEmbedding
from toolkit.finetune import attach, detach
from toolkit.finetune import module as layers

Float32 = NDArray[np.float32]
GROUP = 32  # entries of an int4 table that share a scale


class Table(Protocol):
    """A token table in the form that an arm stores it in."""

    @property
    def nbytes(self) -> int:
        """Bytes stored."""

    def dense(self) -> Float32:
        """The values it stands for, [V, d]."""

    def place(self, model: Any) -> nn.Module:
        """Let ``model``, of transformers, look tokens up in it; gives the layer."""

    def pack(self, layer: nn.Module) -> "Table":
        """What ``layer`` has become, stored in the same form."""


@dataclass(frozen=True, eq=False)
class Packed:
    """A table of :mod:`toolkit`, of any of its methods."""

    packed: CompressedEmbedding

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    def dense(self) -> Float32:
        return self.packed.dense()

    def place(self, model: Any) -> nn.Module:
        return attach(detach(model), self.packed)

    def pack(self, layer: nn.Module) -> "Packed":
        assert isinstance(layer, layers.CompressedEmbedding)
        return Packed(layer.pack())


@dataclass(frozen=True, eq=False)
class Uncompressed:
    """The table as it is, float32; nothing is lost when it is stored."""

    weight: Float32

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def dense(self) -> Float32:
        return self.weight

    def place(self, model: Any) -> nn.Module:
        layer: nn.Module = model.get_input_embeddings()
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))  # type: ignore[operator]
        return layer

    def pack(self, layer: nn.Module) -> "Uncompressed":
        return Uncompressed(dense_of(layer))


@dataclass(frozen=True, eq=False)
class Int4:
    """Round to nearest: ``codes`` int8 [V, d], -8 .. 7; ``scales`` float16 [V, ceil(d / 32)]."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float16]

    @property
    def nbytes(self) -> int:
        return -(-self.codes.size // 2) + self.scales.nbytes

    def dense(self) -> Float32:
        scales = np.repeat(self.scales.astype(np.float32), GROUP, axis=1)
        return self.codes * scales[:, : self.codes.shape[1]]

    def place(self, model: Any) -> nn.Module:
        layer = Int4Embedding(self.codes, self.scales).to(model.device)
        model.set_input_embeddings(layer)
        return layer

    def pack(self, layer: nn.Module) -> "Int4":
        assert isinstance(layer, Int4Embedding)
        return Int4(self.codes, layer.scales.detach().cpu().numpy().astype(np.float16))


class Int4Embedding(nn.Module):
    """``ids`` integer [...] -> float32 [..., d]; the scales are the parameters."""

    codes: Tensor

    def __init__(self, codes: NDArray[np.int8], scales: NDArray[np.float16]) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(codes.copy()))
        self.scales = nn.Parameter(torch.from_numpy(scales.astype(np.float32)))

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of ``ids``."""
        scales = self.scales[ids].repeat_interleave(GROUP, dim=-1)
        return self.codes[ids] * scales[..., : self.codes.shape[1]]


def round_to_nearest(table: Float32) -> Int4:
    """``table`` [V, d] as 4 bits an entry and a scale for each 32, the best of 25 by error."""
    stored = RoundToNearest(4, GROUP)(table, 0, 0).stored
    bits = np.unpackbits(stored["codes"], count=4 * table.size).reshape(-1, 4)
    codes = (bits @ np.array([1, 2, 4, 8], np.uint8)).astype(np.int8) - 8
    scales = stored["scales"].reshape(len(table), -1)
    return Int4(codes.reshape(table.shape).astype(np.int8), scales)


@torch.no_grad()
def dense_of(layer: nn.Module) -> Float32:
    """What any arm's layer stands for now, float32 [V, d]; a copy."""
    if isinstance(layer, layers.CompressedEmbedding):
        values = layer.dense()
    elif isinstance(layer, Int4Embedding):
        values = layer(torch.arange(len(layer.codes), device=layer.codes.device))
    else:
        values = layer.weight  # type: ignore[assignment]
    return values.detach().float().cpu().numpy().copy()


def save(table: Packed | Int4, path: Path) -> None:
    """Write a table to ``path``."""
    if isinstance(table, Packed):
        table.packed.save(path)
    else:
        with path.open("wb") as file:
            np.savez(file, codes=table.codes, scales=table.scales)


def load(path: Path, int4: bool) -> Packed | Int4:
    """Read what :func:`save` wrote."""
    if not int4:
        return Packed(CompressedEmbedding.load(path))
    with np.load(path) as kept:
        return Int4(kept["codes"], kept["scales"])
