"""What a compressed token embedding is. :meth:`CompressedEmbedding.lookup` defines its values.

    p      = position of row i            (rows that matter most come first)
    x^[i]  = mean + gain[p] * (left[i] @ (scale * right) + sum over stages s with p < rows_s of
             z_s[p] @ D_s)

A byte of a stage's code stands for a few latent values: an entry of the stage's codebook [256, k],
or eight signs where there is none. ``z_s[p]`` is all bytes' values in a row, and ``D_s`` is either
a dense int8 decoder [latents, d] with one scale a column, or the columns themselves (``D_s =
diag(scale)``): dense decoders pay for stages that cover many rows; column stages, which have next
to nothing to store, for the few frequent rows. Rows that no stage covers are ``tail``.

Every other decoder (the ONNX graph, any kernel) is tested against this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FormatError, InputError
from . import bitpack

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]

CODEBOOK_PEAK = 63  # 7 bits: a product of unsigned 7 and signed 8 bits saturates on no processor
_WEIGHT_PEAK = 127
_LOOKUP_CHUNK = 4096  # rows decoded at a time: keeps the unpacked bits inside the cache


@dataclass(frozen=True, eq=False)
class DenseDecoder:
    """A learned decoder [latents, d].

    ``weight`` int8 with ``scale`` float32 [d] stands for D = weight * scale; float32 without a
    scale is D itself (the papers' own methods keep it so).
    """

    weight: Int8 | Float32
    scale: Float32 | None = None

    @property
    def latents(self) -> int:
        """Latent values that one row's code stands for."""
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """d, the columns decoded to."""
        return self.weight.shape[1]

    def dense(self) -> Float32:
        """D, float32 [latents, d]."""
        weight = self.weight.astype(np.float32)
        return weight if self.scale is None else weight * self.scale

    def decode(self, latents: Int8) -> Float32:
        """``latents`` int8 [n, m] -> float32 [n, d]. With int8 weights the product is exact."""
        if self.scale is None:
            return latents.astype(np.float32) @ self.weight
        # float32 holds every integer up to 2**24; a taller decoder may sum to more.
        largest = _WEIGHT_PEAK * CODEBOOK_PEAK * self.latents
        exact = np.float32 if largest < 2**24 else np.float64
        return (latents.astype(exact) @ self.weight.astype(exact)).astype(np.float32) * self.scale


@dataclass(frozen=True, eq=False)
class ColumnDecoder:
    """A latent value for each column. ``scale`` float32 [d]: D = diag(scale)."""

    scale: Float32

    @property
    def latents(self) -> int:
        """Latent values that one row's code stands for: one a column."""
        return self.scale.shape[0]

    @property
    def width(self) -> int:
        """d, the columns decoded to."""
        return self.scale.shape[0]

    def decode(self, latents: Int8) -> Float32:
        """``latents`` int8 [n, d] -> float32 [n, d]."""
        return latents.astype(np.float32) * self.scale


Decoder = DenseDecoder | ColumnDecoder


@dataclass(frozen=True, eq=False)
class Stage:
    """One residual stage: ``codes`` uint8 [rows, bytes] for positions 0 .. rows - 1.

    ``codebook`` int8 [256, k], values of at most :data:`CODEBOOK_PEAK` in size, says which k latent
    values a byte stands for. Without one a byte is eight bits, least significant first, read as -1
    and +1. Values beyond the decoder's latents are dropped.
    """

    codes: UInt8
    decoder: Decoder
    codebook: Int8 | None = None

    @property
    def rows(self) -> int:
        """Positions covered, from 0 on."""
        return self.codes.shape[0]

    @property
    def values_per_byte(self) -> int:
        """k, the latent values that a byte stands for."""
        return 8 if self.codebook is None else self.codebook.shape[1]

    def latents(self, positions: Int32) -> Int8:
        """int8 [n, m]: what the codes stand for; 0 where the stage does not cover the position."""
        covered = positions < self.rows
        codes = self.codes[np.where(covered, positions, 0)]
        codebook = bitpack.signs() if self.codebook is None else self.codebook
        values = codebook[codes].reshape(len(codes), -1)[:, : self.decoder.latents]
        return values * covered[:, None].astype(np.int8)


@dataclass(frozen=True, eq=False)
class Gain:
    """A factor for each row: ``levels`` float32 [256] by ``codes`` uint8 [rows], by position."""

    codes: UInt8
    levels: Float32

    def at(self, positions: Int32) -> Float32:
        """``positions`` int32 [n] -> float32 [n]; 1 beyond the rows that have a code."""
        covered = positions < len(self.codes)
        factors = self.levels[self.codes[np.where(covered, positions, 0)]]
        return np.where(covered, factors, np.float32(1))


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

    ``mean`` is float32 [d]; ``tail`` float32 [d] stands for all rows that no stage covers (the mean
    does where it is absent). ``lowrank``, ``order`` and ``gain`` may be absent. Instances are
    immutable.
    """

    rows: int
    width: int
    mean: Float32
    stages: tuple[Stage, ...]
    lowrank: LowRank | None = None
    order: RowOrder | None = None
    gain: Gain | None = None
    tail: Float32 | None = None

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

    def logits(self, hidden: ArrayLike) -> Float32:
        """An output head of this table: ``hidden`` [..., d] -> float32 [..., V].

        ``hidden @ dense().T``, some rows at a time.

        Raises:
            InputError: the last dimension is not d.
        """
        states = np.asarray(hidden, np.float32)
        if states.ndim == 0 or states.shape[-1] != self.width:
            raise InputError(f"hidden states must be [.., {self.width}], got {list(states.shape)}")
        flat = states.reshape(-1, self.width)
        values = np.empty((len(flat), self.rows), np.float32)
        for start in range(0, self.rows, _LOOKUP_CHUNK):
            ids = np.arange(start, min(start + _LOOKUP_CHUNK, self.rows), dtype=np.int32)
            values[:, start : start + _LOOKUP_CHUNK] = flat @ self._decode(ids).T
        return values.reshape(*states.shape[:-1], self.rows)

    def _decode(self, ids: Int32) -> Float32:
        positions = ids if self.order is None else self.order.positions(ids)
        parts = [] if self.lowrank is None else [self.lowrank.decode(ids)]
        parts += [stage.decoder.decode(stage.latents(positions)) for stage in self.stages]
        start = self.mean
        if self.tail is not None:
            start = np.where((positions < self.covered)[:, None], self.mean, self.tail)
        if not parts:
            return np.broadcast_to(start, (ids.size, self.width)).astype(np.float32)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        if self.gain is not None:
            total = total * self.gain.at(positions)[:, None]
        return total + start

    @property
    def covered(self) -> int:
        """Positions that any stage covers, from 0 on."""
        return max((stage.rows for stage in self.stages), default=0)

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
        if self.tail is not None:
            yield "tail", self.tail
        if self.order is not None:
            yield "order.starts", self.order.starts
        if self.gain is not None:
            yield "gain.codes", self.gain.codes
            yield "gain.levels", self.gain.levels
        for index, stage in enumerate(self.stages):
            yield f"stages.{index}.codes", stage.codes
            if stage.codebook is not None:
                yield f"stages.{index}.codebook", stage.codebook
            if isinstance(stage.decoder, DenseDecoder):
                yield f"stages.{index}.weight", stage.decoder.weight
            if stage.decoder.scale is not None:
                yield f"stages.{index}.scale", stage.decoder.scale

    def to_bytes(self) -> bytes:
        """The file's content (safetensors); equal embeddings give equal bytes."""
        from . import file_format as store

        return store.to_bytes(self)

    def save(self, path: str | Path) -> None:
        """Write to ``path``: aside first, then renamed, so that no half file is ever seen."""
        from . import file_format as store

        store.save_to(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "CompressedEmbedding":
        """Read what :meth:`save` wrote.

        Raises:
            FormatError: missing, damaged, no LightToken file, or of a newer format version.
        """
        from . import file_format as store

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
        stored, k = stage.codes.shape[1], stage.values_per_byte
        need(k >= 1, f"stage {index}: codebook of entries without values")
        need(
            stored == -(-stage.decoder.latents // k),
            f"stage {index} stores {stored} bytes a row for {stage.decoder.latents} values",
        )
        if stage.codebook is not None:
            need(stage.codebook.shape == (256, k), f"stage {index}: codebook of wrong shape")
            peak = int(np.abs(stage.codebook.astype(np.int16)).max(initial=0))
            need(peak <= CODEBOOK_PEAK, f"stage {index}: codebook holds {peak}")
    if e.tail is not None:
        need(e.tail.shape == (e.width,), f"tail has shape {e.tail.shape}")
        need(e.lowrank is None, "a tail beside low-rank factors, which cover every row")
    if e.gain is not None:
        need(e.gain.levels.shape == (256,), f"gain levels have shape {e.gain.levels.shape}")
        need(
            e.gain.codes.ndim == 1 and 1 <= len(e.gain.codes) <= e.rows,
            f"gain codes have shape {e.gain.codes.shape}",
        )
