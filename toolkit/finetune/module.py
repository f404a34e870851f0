"""A packed table as a PyTorch layer, trainable but for its codes.

The codes are integers and stay as they are: what a gradient can reach is everything that they are
read by. :meth:`CompressedEmbedding.pack` makes a packed table of it again, of as many bytes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..methods.lighttoken.gain import as_gain
from ..table import bitpack, components, embedding
from .pack import as_lowrank, as_weight

_HEAD_ROWS = 8192  # of the table unpacked at a time for logits


class CompressedEmbedding(nn.Module):
    """``ids`` integer [...] -> float [..., d], as :meth:`toolkit.CompressedEmbedding.lookup` does.

    Buffers: the codes uint8, the codebooks int8, the order of the rows. Parameters: each stage's
    decoder float [latents, d] (or one scale a column, float [d]), the low-rank factors, the rows'
    gains float [rows], the mean and the tail float [d]. Integers and their scales have become one
    float tensor; ``pack`` divides them again.

    Args:
        packed: the table.
        factor: what the rows are multiplied with, in models whose own layer does so.
        dtype: of the rows; the parameters are float32 whatever the model's are.
    """

    replaces: tuple[nn.Embedding, ...] = ()  # what attach took out, without its table

    def __init__(
        self,
        packed: embedding.CompressedEmbedding,
        factor: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = packed.rows, packed.width
        self.factor, self.dtype = factor, dtype
        self._packed = packed
        self.mean = _parameter(packed.mean)
        self.tail = None if packed.tail is None else _parameter(packed.tail)
        self.stages = nn.ModuleList(CompressedStage(stage) for stage in packed.stages)
        self.gain = None
        if packed.gain is not None:
            self.gain = _parameter(packed.gain.levels[packed.gain.codes])
        self.left = self.right = None
        if packed.lowrank is not None:
            scale = packed.lowrank.scale
            right = packed.lowrank.right.astype(np.float32)
            self.left = _parameter(packed.lowrank.left.astype(np.float32))
            self.right = _parameter(right if scale is None else right * scale[:, None])
        self.zeros: Tensor | None  # bool [rows]: those that stay zero
        every = np.arange(packed.rows, dtype=np.int32)
        marked = None if packed.zeros is None else torch.from_numpy(packed.zeros.at(every))
        self.register_buffer("zeros", marked)
        self.starts: Tensor | None
        self.register_buffer("starts", None if packed.order is None else _long(packed.order.starts))
        self.block = 0 if packed.order is None else packed.order.block

    def forward(self, ids: Tensor) -> Tensor:
        """``ids`` integer [...] -> float [..., d].

        Raises:
            IndexError: an id outside 0 .. V - 1, as nn.Embedding has it; on the CPU, where the look
                does not hold a device up, and not in compiled code.
        """
        self._check(ids)
        rows = self.rows(ids.reshape(-1).long())
        if self.factor != 1.0:
            rows = rows * self.factor
        return rows.reshape(*ids.shape, self.embedding_dim).to(self.dtype)

    def _check(self, ids: Tensor) -> None:
        if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
            return
        least, most = (int(each) for each in ids.aminmax())
        if least < 0 or most >= self.num_embeddings:
            wrong = least if least < 0 else most
            raise IndexError(
                f"token id {wrong} is outside 0 .. {self.num_embeddings - 1}; check the tokenizer"
            )

    def logits(self, hidden: Tensor) -> Tensor:
        """A head that shares the table: ``hidden`` float [..., d] -> float [..., V].

        Some rows at a time, unpacked again for the gradient: at no time is there a table of floats.
        """
        found = [
            checkpoint(self._some_logits, hidden, ids, use_reentrant=False) for ids in self._every()
        ]
        return torch.cat(found, dim=-1)

    def _every(self) -> tuple[Tensor, ...]:
        """All ids, some thousand at a time."""
        return torch.arange(self.num_embeddings, device=self.mean.device).split(_HEAD_ROWS)  # type: ignore[no-untyped-call]

    def _some_logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return hidden @ self.rows(ids).to(hidden.dtype).T

    def rows(self, ids: Tensor) -> Tensor:
        """``ids`` int64 [n] -> float [n, d], without ``factor``."""
        # Like a dense table's, the rows keep their precision where the model's products lose it.
        with torch.autocast(self.mean.device.type, enabled=False):
            rows = self._sum(ids)
            return rows if self.zeros is None else rows.masked_fill(self.zeros[ids, None], 0)

    def _sum(self, ids: Tensor) -> Tensor:
        positions = (
            ids if self.starts is None else self.starts[ids // self.block] + ids % self.block
        )
        total = ids.new_zeros((), dtype=self.mean.dtype)
        if self.left is not None and self.right is not None:
            total = self.left[ids] @ self.right
        for stage in self.stages:
            total = total + stage(positions)
        if self.gain is not None:
            covered = positions < len(self.gain)
            gain = torch.where(covered, self.gain[torch.where(covered, positions, 0)], 1.0)
            total = total * gain[:, None]
        if self.tail is None:
            return total + self.mean
        covered = positions < self._packed.covered
        return total + torch.where(covered[:, None], self.mean, self.tail)

    @property
    def weight(self) -> Tensor:
        """The table as floats [V, d], without a gradient: a copy, made at each call."""
        return self.dense()

    @torch.no_grad()
    def dense(self) -> Tensor:
        """The table as floats [V, d], without a gradient and without ``factor``."""
        return torch.cat([self.rows(ids) for ids in self._every()])

    def pack(self) -> embedding.CompressedEmbedding:
        """The table as it is now, in as many bytes as it came in.

        Decoders are rounded to int8 with one scale a column again, the gains to 256 levels; floats
        that were stored as floats stay so.

        Raises:
            InputError: a parameter that is no longer finite.
        """
        for name, parameter in self.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise InputError(
                    f"{name} holds NaN or infinite values after training; train it again with a "
                    "lower learning rate"
                )
        old = self._packed
        stages = tuple(
            stage.pack(before) for stage, before in zip(self._each(), old.stages, strict=True)
        )
        lowrank = old.lowrank
        if lowrank is not None and self.left is not None and self.right is not None:
            lowrank = as_lowrank(_array(self.left), _array(self.right), like=lowrank)
        gain = None if self.gain is None else as_gain(_array(self.gain))
        return embedding.CompressedEmbedding(
            old.rows,
            old.width,
            _array(self.mean),
            stages,
            lowrank=lowrank,
            order=old.order,
            gain=gain,
            tail=None if self.tail is None else _array(self.tail),
            zeros=old.zeros,
        )

    def _each(self) -> Iterator["CompressedStage"]:
        for stage in self.stages:
            assert isinstance(stage, CompressedStage)
            yield stage

    def extra_repr(self) -> str:
        """Rows, width and how much smaller the table is."""
        return f"{self.num_embeddings}, {self.embedding_dim}, ratio={self._packed.ratio:.1f}"


class CompressedStage(nn.Module):
    """``positions`` int64 [n] -> float [n, d]: one stage's part of the rows."""

    codes: Tensor
    codebook: Tensor

    def __init__(self, stage: components.Stage) -> None:
        super().__init__()
        codebook = bitpack.signs() if stage.codebook is None else stage.codebook
        self.register_buffer("codes", torch.from_numpy(np.array(stage.codes)))
        self.register_buffer("codebook", torch.from_numpy(np.array(codebook)))
        decoder = stage.decoder
        self.dense = isinstance(decoder, components.DenseDecoder)
        if isinstance(decoder, components.DenseDecoder):
            self.decoder = _parameter(decoder.dense())
        else:
            self.decoder = _parameter(decoder.scale)

    def forward(self, positions: Tensor) -> Tensor:
        """Zeros where the stage does not cover the position."""
        covered = positions < len(self.codes)
        codes = self.codes[torch.where(covered, positions, 0)].long()
        values = self.codebook.to(self.decoder.dtype)[codes].flatten(1)[:, : len(self.decoder)]
        values = values * covered[:, None]
        return values @ self.decoder if self.dense else values * self.decoder

    def pack(self, old: components.Stage) -> components.Stage:
        """The stage with its decoder as it is now, of the old one's types."""
        codes, decoder = self.codes.cpu().numpy().copy(), _array(self.decoder)
        if not isinstance(old.decoder, components.DenseDecoder):
            return components.Stage(codes, components.ColumnDecoder(decoder), old.codebook)
        return components.Stage(codes, as_weight(decoder, like=old.decoder), old.codebook)


def _parameter(values: NDArray[np.float32]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32)))


def _long(values: NDArray[np.int32]) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy().copy()
