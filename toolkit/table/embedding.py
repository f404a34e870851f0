"""What a compressed token embedding is. :meth:`CompressedEmbedding.lookup` defines its values.

    p      = position of row i            (rows that matter most come first)
    x^[i]  = mean + gain[p] * (left[i] @ (scale * right) + sum over stages s with p < rows_s of
             z_s[p] @ D_s)

A byte of a stage's code stands for a few latent values: an entry of the stage's codebook [256, k],
or eight signs where there is none. ``z_s[p]`` is all bytes' values in a row, and ``D_s`` is either
a dense int8 decoder [latents, d] with one scale a column, or the columns themselves (``D_s =
diag(scale)``): dense decoders pay for stages that cover many rows; column stages, which have next
to nothing to store, for the few frequent rows. Rows that no stage covers are ``tail``. Rows of
zeros may be marked as such: they are exact.

Every other decoder (the ONNX graph, any kernel) is tested against this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FormatError, InputError
from ..files import write_aside
from . import file_format
from .components import (
    CODEBOOK_PEAK,
    DenseDecoder,
    Float32,
    Gain,
    Int32,
    LowRank,
    RowOrder,
    Stage,
    Zeros,
)

_LOOKUP_CHUNK = 4096  # rows decoded at a time: keeps the unpacked bits inside the cache
_MOST_ROWS = 2**31 - 1
# A file may come from anyone, and rows that no stage covers cost it nothing. Whoever decodes the
# table takes at most so many times its bytes; the papers' own tables have a ratio of about 100.
_HIGHEST_RATIO = 10_000
_SMALL = 1 << 28  # bytes that any table may decode to


@dataclass(frozen=True, eq=False)
class CompressedEmbedding:
    """A packed token-embedding table of ``rows`` x ``width`` values.

    ``mean`` is float32 [d]; ``tail`` float32 [d] stands for all rows that no stage covers (the mean
    does where it is absent). Rows that ``zeros`` marks are zero, whatever their codes say.
    ``lowrank``, ``order``, ``gain`` and ``zeros`` may be absent. Instances are immutable.
    """

    rows: int
    width: int
    mean: Float32
    stages: tuple[Stage, ...]
    lowrank: LowRank | None = None
    order: RowOrder | None = None
    gain: Gain | None = None
    tail: Float32 | None = None
    zeros: Zeros | None = None

    def __post_init__(self) -> None:
        _check(self)

    def lookup(self, ids: ArrayLike) -> Float32:
        """Decode rows. ``ids`` integers of any shape [...] -> float32 [..., d].

        As ONNX's Gather takes them: a negative id is counted from the table's end.

        Raises:
            InputError: ids are no integers, or one lies outside -rows .. rows - 1 (it is named).
        """
        wanted = np.asarray(ids)
        if wanted.size and not np.issubdtype(wanted.dtype, np.integer):
            raise InputError(f"ids must be integers, got {wanted.dtype}")
        flat = wanted.reshape(-1)
        outside = (flat < -self.rows) | (flat >= self.rows)
        if outside.any():
            raise InputError(
                f"id {flat[outside][0]} is outside {-self.rows} .. {self.rows - 1}; "
                "check the tokenizer"
            )
        values = np.empty((flat.size, self.width), np.float32)
        for start in range(0, flat.size, _LOOKUP_CHUNK):
            chunk = flat[start : start + _LOOKUP_CHUNK].astype(np.int32)
            chunk[chunk < 0] += self.rows
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
        rows = self._sum(ids)
        if self.zeros is not None:
            rows[self.zeros.at(ids)] = 0
        return rows

    def _sum(self, ids: Int32) -> Float32:
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
        if self.zeros is not None:
            yield "zeros", self.zeros.bits
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
        return file_format.to_bytes(
            self.tensors(),
            rows=self.rows,
            width=self.width,
            block=self.order.block if self.order else None,
            stages=self.stages,
        )

    def save(self, path: str | Path) -> None:
        """Write to ``path``: aside first, then renamed, so that no half file is ever seen.

        Raises:
            InputError: no folder for it, or a folder, a link or a device is at ``path``.
        """
        with write_aside(Path(path)) as aside:
            aside.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "CompressedEmbedding":
        """Read what :meth:`save` wrote.

        Raises:
            FormatError: missing, damaged, no LightToken file, or of a newer format version.
        """
        fields = file_format.read_fields(Path(path))
        try:
            return cls(**fields)
        except (TypeError, IndexError) as error:  # shapes that not even a check can look at
            raise FormatError(f"{path} has a damaged header ({error!r}); copy it again") from error


def _check(e: CompressedEmbedding) -> None:
    """Raise FormatError unless all parts fit one another."""

    def need(condition: bool, what: str) -> None:
        if not condition:
            raise FormatError(f"inconsistent embedding: {what}")

    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in (e.rows, e.width))
    need(whole and e.rows >= 1 and e.width >= 1, f"table of {e.rows} x {e.width}")
    need(e.rows <= _MOST_ROWS, f"table of {e.rows} rows, ids have 31 bits")
    for name, tensor in e.tensors():
        if tensor.dtype == np.float32:
            need(bool(np.isfinite(tensor).all()), f"{name} holds NaN or infinity")
    stored = sum(tensor.nbytes for _, tensor in e.tensors())
    need(
        e.dense_nbytes <= _HIGHEST_RATIO * stored + _SMALL,
        f"table of {e.rows} x {e.width} in {stored} bytes, which no method makes",
    )
    need(e.mean.shape == (e.width,), f"mean has shape {e.mean.shape}")
    if e.lowrank is not None:
        k = e.lowrank.rank
        need(e.lowrank.left.shape == (e.rows, k), f"left factor is {e.lowrank.left.shape}")
        need(e.lowrank.right.shape == (k, e.width), f"right factor is {e.lowrank.right.shape}")
        scale = e.lowrank.scale
        shape = None if scale is None else scale.shape
        need(shape in (None, (k,)), f"factor scale of shape {shape}")
    if e.order is not None:
        need(isinstance(e.order.block, int) and e.order.block >= 1, f"row block of {e.order.block}")
        blocks = -(-e.rows // e.order.block)
        need(e.order.starts.shape == (blocks,), f"row order is {e.order.starts.shape}")
        need(e.order.is_permutation(e.rows), "row order is not a permutation")
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
    if e.zeros is not None:
        bits = e.zeros.bits
        need(bits.shape == (-(-e.rows // 8),), f"marks of zero rows have shape {bits.shape}")
        need(bits[-1] >> ((e.rows - 1) % 8 + 1) == 0, "a row beyond the last is marked as zero")
