"""What a compressed token embedding is. :meth:`CompressedEmbedding.lookup` defines its values.

    p      = position of row i            (rows that matter most come first)
    x^[i]  = mean + left[i] @ (scale * right) + sum over stages s with p < rows_s of b_s[p] @ D_s

``b_s`` are bits read as -1 and +1. ``D_s`` is either a dense int8 decoder [bits, d] with one scale
a column, or a diagonal (one bit a column, so ``D_s = diag(scale)``): dense decoders pay for stages
that cover many rows, diagonal ones, which cost nothing to store, for the few frequent rows.

Every other decoder (the ONNX graph, any kernel) is tested against this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import bitpack
from .errors import FormatError, InputError

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]

_LOOKUP_CHUNK = 4096  # rows decoded at a time: keeps the unpacked bits inside the cache


@dataclass(frozen=True, eq=False)
class DenseDecoder:
    """A learned decoder [bits, d].

    ``weight`` int8 with ``scale`` float32 [d] stands for D = weight * scale; float32 without a
    scale is D itself (the papers' own methods keep it so).
    """

    weight: Int8 | Float32
    scale: Float32 | None = None

    @property
    def bits(self) -> int:
        """Bits that one row's code has."""
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """d, the columns decoded to."""
        return self.weight.shape[1]

    def decode(self, signs: Int8) -> Float32:
        """``signs`` int8 [n, bits] of -1, 0, +1 -> float32 [n, d].

        With int8 the product is exact: float32 holds every integer up to 2**24, and
        |sum| <= 127 * bits.
        """
        product = signs.astype(np.float32) @ self.weight.astype(np.float32)
        return product if self.scale is None else product * self.scale


@dataclass(frozen=True, eq=False)
class DiagonalDecoder:
    """One bit a column. ``scale`` float32 [d]: D = diag(scale)."""

    scale: Float32

    @property
    def bits(self) -> int:
        """Bits that one row's code has: one a column."""
        return self.scale.shape[0]

    @property
    def width(self) -> int:
        """d, the columns decoded to."""
        return self.scale.shape[0]

    def decode(self, signs: Int8) -> Float32:
        """``signs`` int8 [n, d] of -1, 0, +1 -> float32 [n, d]."""
        return signs.astype(np.float32) * self.scale


Decoder = DenseDecoder | DiagonalDecoder


@dataclass(frozen=True, eq=False)
class Stage:
    """One residual stage: ``codes`` uint8 [rows, ceil(bits / 8)] for positions 0 .. rows - 1."""

    codes: UInt8
    decoder: Decoder

    @property
    def rows(self) -> int:
        """Positions covered, from 0 on."""
        return self.codes.shape[0]

    @property
    def bits(self) -> int:
        """Bits that one row's code has."""
        return self.decoder.bits

    def signs(self, positions: Int32) -> Int8:
        """int8 [n, bits]: -1 or +1 where the stage covers the position, 0 where it does not."""
        covered = positions < self.rows
        codes = self.codes[np.where(covered, positions, 0)]
        signs = bitpack.unpack(codes, self.bits).astype(np.int8) * np.int8(2) - np.int8(1)
        return signs * covered[:, None].astype(np.int8)


@dataclass(frozen=True, eq=False)
class LowRank:
    """The rank-k part, ``left`` [V, k] and ``right`` [k, d].

    Either both int8 with ``scale`` float32 [k], or both float32 without.
    """

    left: Int8 | Float32
    right: Int8 | Float32
    scale: Float32 | None = None

    @property
    def rank(self) -> int:
        """k, the columns of ``left``."""
        return self.left.shape[1]

    def decode(self, ids: Int32) -> Float32:
        """``ids`` int32 [n] -> float32 [n, d]."""
        right = self.right.astype(np.float32)
        if self.scale is not None:
            right *= self.scale[:, None]
        return self.left[ids].astype(np.float32) @ right


@dataclass(frozen=True, eq=False)
class RowOrder:
    """Where each block of ``block`` consecutive ids stands: ``starts`` int32 [ceil(V / block)].

    ``position(i) = starts[i // block] + i % block``. Blocks keep the map at a few hundred bytes
    where a map of single rows would cost several per cent of a 25x budget. The last block may be
    short; wherever it stands, the next one follows without a gap.
    """

    starts: Int32
    block: int

    def positions(self, ids: Int32) -> Int32:
        """``ids`` int32 [n] -> positions int32 [n]."""
        return self.starts[ids // self.block] + ids % self.block


@dataclass(frozen=True, eq=False)
class CompressedEmbedding:
    """A packed token-embedding table of ``rows`` x ``width`` values.

    ``mean`` is float32 [d]; ``lowrank`` and ``order`` may be absent. Instances are immutable.
    """

    rows: int
    width: int
    mean: Float32
    stages: tuple[Stage, ...]
    lowrank: LowRank | None = None
    order: RowOrder | None = None

    def __post_init__(self) -> None:
        _check(self)

    def lookup(self, ids: ArrayLike) -> Float32:
        """Decode rows. ``ids`` integers of any shape [...] -> float32 [..., d].

        Raises:
            InputError: ids are no integers, or one lies outside 0 .. rows - 1 (it is named).
        """
        wanted = np.asarray(ids)
        if wanted.size and not np.issubdtype(wanted.dtype, np.integer):
            raise InputError(f"ids must be integers, got {wanted.dtype}")
        flat = wanted.reshape(-1)
        outside = (flat < 0) | (flat >= self.rows)
        if outside.any():
            raise InputError(
                f"id {flat[outside][0]} is outside 0 .. {self.rows - 1}; check the tokenizer"
            )
        values = np.empty((flat.size, self.width), np.float32)
        for start in range(0, flat.size, _LOOKUP_CHUNK):
            chunk = flat[start : start + _LOOKUP_CHUNK].astype(np.int32)
            values[start : start + _LOOKUP_CHUNK] = self._decode(chunk)
        return values.reshape(*wanted.shape, self.width)

    def _decode(self, ids: Int32) -> Float32:
        values = np.broadcast_to(self.mean, (ids.size, self.width)).astype(np.float32)
        if self.lowrank is not None:
            values += self.lowrank.decode(ids)
        positions = ids if self.order is None else self.order.positions(ids)
        for stage in self.stages:
            values += stage.decoder.decode(stage.signs(positions))
        return values

    def dense(self) -> Float32:
        """The whole table decoded, float32 [V, d]."""
        return self.lookup(np.arange(self.rows))

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the saved file, header and every tensor included."""
        return len(self.to_bytes())

    @property
    def dense_nbytes(self) -> int:
        """Bytes of the same table in float32."""
        return self.rows * self.width * 4

    @property
    def ratio(self) -> float:
        """float32 bytes over stored bytes."""
        return self.dense_nbytes / self.nbytes

    @property
    def bits_per_parameter(self) -> float:
        """Stored bits over table entries."""
        return 8 * self.nbytes / (self.rows * self.width)

    def bytes_by_part(self) -> dict[str, int]:
        """Stored bytes of each tensor by name, in storage order."""
        return {name: tensor.nbytes for name, tensor in self.tensors()}

    def tensors(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Every stored tensor with its name in the file."""
        yield "mean", self.mean
        if self.lowrank is not None:
            yield "lowrank.left", self.lowrank.left
            yield "lowrank.right", self.lowrank.right
            if self.lowrank.scale is not None:
                yield "lowrank.scale", self.lowrank.scale
        if self.order is not None:
            yield "order.starts", self.order.starts
        for index, stage in enumerate(self.stages):
            yield f"stages.{index}.codes", stage.codes
            if isinstance(stage.decoder, DenseDecoder):
                yield f"stages.{index}.weight", stage.decoder.weight
            if stage.decoder.scale is not None:
                yield f"stages.{index}.scale", stage.decoder.scale

    def to_bytes(self) -> bytes:
        """The file's content (safetensors); equal embeddings give equal bytes."""
        from . import store

        return store.to_bytes(self)

    def save(self, path: str | Path) -> None:
        """Write to ``path``: aside first, then renamed, so that no half file is ever seen."""
        from . import store

        store.save_to(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "CompressedEmbedding":
        """Read what :meth:`save` wrote.

        Raises:
            FormatError: missing, damaged, no LightToken file, or of a newer format version.
        """
        from . import store

        return store.load(Path(path))


def _check(e: CompressedEmbedding) -> None:
    """Raise FormatError unless all parts fit one another."""

    def need(condition: bool, what: str) -> None:
        if not condition:
            raise FormatError(f"inconsistent embedding: {what}")

    whole = isinstance(e.rows, int) and isinstance(e.width, int)
    need(whole and e.rows >= 1 and e.width >= 1, f"table of {e.rows} x {e.width}")
    need(e.mean.shape == (e.width,), f"mean has shape {e.mean.shape}")
    if e.lowrank is not None:
        k = e.lowrank.rank
        need(e.lowrank.left.shape == (e.rows, k), f"left factor is {e.lowrank.left.shape}")
        need(e.lowrank.right.shape == (k, e.width), f"right factor is {e.lowrank.right.shape}")
        scale = e.lowrank.scale
        shape = None if scale is None else scale.shape
        need(shape in (None, (k,)), f"factor scale of shape {shape}")
    if e.order is not None:
        need(e.order.block >= 1, f"row block of {e.order.block}")
        blocks = -(-e.rows // e.order.block)
        need(e.order.starts.shape == (blocks,), f"row order is {e.order.starts.shape}")
        ids = np.arange(e.rows, dtype=np.int32)
        need(
            bool(np.array_equal(np.sort(e.order.positions(ids)), ids)),
            "row order is not a permutation",
        )
    for index, stage in enumerate(e.stages):
        need(stage.decoder.width == e.width, f"stage {index} decodes to {stage.decoder.width}")
        scale = stage.decoder.scale
        need(scale is None or scale.shape == (e.width,), f"stage {index}: scale of wrong shape")
        need(1 <= stage.rows <= e.rows, f"stage {index} covers {stage.rows} rows")
        need(
            stage.codes.shape[1] == bitpack.bytes_per_row(stage.bits),
            f"stage {index} stores {stage.codes.shape[1]} bytes a row for {stage.bits} bits",
        )
