"""The components of a packed table: stages and their decoders, gains, low rank, the order of rows.

:mod:`.embedding` says how they add up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import bitpack

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]

CODEBOOK_PEAK = 63  # 7 bits: a product of unsigned 7 and signed 8 bits saturates on no processor
_WEIGHT_PEAK = 127


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
class Zeros:
    """Rows that are exactly zero, such as a padding token's: a bit for each id.

    ``bits`` uint8 [ceil(V / 8)], least significant bit first; those beyond V are clear.
    """

    bits: UInt8

    @classmethod
    def of(cls, rows: NDArray[np.bool_]) -> "Zeros":
        """From ``rows`` bool [V], true where a row is zero."""
        return cls(bitpack.pack(rows[None])[0])

    def at(self, ids: Int32) -> NDArray[np.bool_]:
        """``ids`` int32 [n], none negative -> bool [n]."""
        return (self.bits[ids // 8] >> (ids % 8).astype(np.uint8) & 1).astype(bool)


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

    def is_permutation(self, rows: int) -> bool:
        """Whether the blocks of a table of ``rows`` follow one another without a gap."""
        sizes = np.full(len(self.starts), self.block, np.int64)
        sizes[-1] = rows - self.block * (len(self.starts) - 1)
        order = np.argsort(self.starts, kind="stable")
        ends = np.cumsum(sizes[order])
        return bool(np.array_equal(self.starts[order], ends - sizes[order]))
