"""New codes for a packed table, in the metric of the model that reads it.

A table is coded before anyone knows what reads it, each direction of a row's error counting alike.
The model is deaf to some directions and keen on others. So the bytes of each row are chosen anew,
all stages together, for the least error as the model's metric has it; the decoders follow by least
squares. Codebooks, row order and the number of bytes stay.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..allocate.allocation import Subquantizer
from ..methods.lighttoken.base_code import BaseCode, least_squares, search
from ..table import bitpack
from ..table.embedding import CompressedEmbedding, DenseDecoder, Float32, Stage
from ..table.matrix import row_blocks
from .pack import as_weight

_SWEEPS = 2


def recode(
    packed: CompressedEmbedding,
    table: Float32,
    root: Tensor,
    weights: Tensor,
    *,
    rounds: int = 4,
    refit: bool = True,
) -> CompressedEmbedding:
    """Choose the codes of all covered rows anew; each round lowers the error.

    Args:
        packed: the table as it is coded now.
        table: the rows to come near to, float32 [V, d].
        root: square root of the metric, float [d, d].
        weights: importance of each row by id in the decoders' fit, float [V].
        rounds: of codes, then decoders.
        refit: fit the decoders too.
    """
    stages = [_Stage(stage) for stage in packed.stages]
    if not stages:
        return packed  # low rank alone has no codes
    target, weights = _targets(packed, table, weights)
    for _ in range(rounds):
        _search(stages, target, root)
        if refit:
            _fit(stages, target, weights)
    if refit:
        _search(stages, target, root)  # for the decoders as they are stored
    return replace(packed, stages=tuple(stage.packed() for stage in stages))


class _Stage:
    """A stage with its decoder as a matrix float [bytes * k, d], whatever its kind."""

    def __init__(self, stage: Stage) -> None:
        self.old = stage
        book = bitpack.signs() if stage.codebook is None else stage.codebook
        self.codes = torch.from_numpy(stage.codes.copy())
        self.book = torch.from_numpy(book.astype(np.float32))
        self.subquantizer = Subquantizer(stage.codes.shape[1], stage.values_per_byte)
        self.stored = decoder = stage.decoder
        self.dense = isinstance(decoder, DenseDecoder)
        self.decoder = torch.zeros(
            self.subquantizer.groups * self.subquantizer.dimension, decoder.width
        )
        if isinstance(decoder, DenseDecoder):
            self.decoder[: decoder.latents] = torch.from_numpy(decoder.dense())
        else:
            self.decoder.diagonal().copy_(torch.from_numpy(decoder.scale))

    def latents(self, rows: slice) -> Tensor:
        """float [n, bytes * k]: fewer rows where the stage ends, 0 beyond the decoder's latents."""
        values = self.book[self.codes[rows].long()].flatten(1)
        values[:, self.old.decoder.latents :] = 0
        return values

    def packed(self) -> Stage:
        """With the codes and the decoder as they are now."""
        return Stage(self.codes.numpy(), self.stored, self.old.codebook)

    def set(self, decoder: Tensor) -> None:
        """A dense decoder, as it will be stored, so that codes make up for the rounding."""
        assert isinstance(self.stored, DenseDecoder)
        latents = self.stored.latents
        self.stored = as_weight(decoder[:latents].numpy(), like=self.stored)
        self.decoder[:latents] = torch.from_numpy(self.stored.dense())


def _targets(packed: CompressedEmbedding, table: Float32, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What the stages are to add up to, float [covered, d] by position, and each one's weight."""
    ids = np.arange(packed.rows, dtype=np.int32)
    by_position = np.empty_like(ids)
    positions = ids if packed.order is None else packed.order.positions(ids)
    by_position[positions] = ids
    chosen = by_position[: packed.covered]
    target = torch.from_numpy(table[chosen] - packed.mean)
    weight = weights[torch.from_numpy(chosen).long()].clone()
    if packed.lowrank is not None:
        target -= torch.from_numpy(packed.lowrank.decode(chosen))
    if packed.gain is not None:
        gain = torch.from_numpy(packed.gain.at(np.arange(len(chosen), dtype=np.int32)))
        target /= gain.clamp_min(1e-30)[:, None]
        weight *= gain**2
        target[gain <= 0] = 0
    return target, weight


def _search(stages: list[_Stage], target: Tensor, root: Tensor) -> None:
    """The bytes of all stages, one after another given the others, some rows at a time."""
    ends = sorted({len(stage.codes) for stage in stages}, reverse=True)
    for start, stop in zip([*ends[1:], 0], ends, strict=True):
        here = [stage for stage in stages if len(stage.codes) >= stop]
        code = BaseCode(
            tuple(stage.subquantizer for stage in here),
            torch.cat([stage.codes[start:stop] for stage in here], dim=1),
            [stage.book for stage in here],
            torch.cat([stage.decoder for stage in here]) @ root,
        )
        search(code, target[start:stop] @ root, _SWEEPS)
        found = code.codes.split([stage.subquantizer.groups for stage in here], dim=1)  # type: ignore[no-untyped-call]
        for stage, codes in zip(here, found, strict=True):
            stage.codes[start:stop] = codes


def _fit(stages: list[_Stage], target: Tensor, weights: Tensor) -> None:
    """The dense decoders by least squares, given the other stages.

    In any metric the same: where the error of a decoder is least, it is in each direction.
    """
    dense = [stage for stage in stages if stage.dense]
    others = [stage for stage in stages if not stage.dense]
    if not dense:
        return

    def block(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        left = target[rows].clone()
        for stage in others:
            values = stage.latents(rows) @ stage.decoder
            left[: len(values)] -= values
        latents = [  # zeros where a stage ends
            nn.functional.pad(values, (0, 0, 0, len(left) - len(values)))
            for values in (stage.latents(rows) for stage in dense)
        ]
        return torch.cat(latents, dim=1), left, weights[rows]

    zeros = torch.zeros_like(torch.cat([stage.decoder for stage in dense]))
    solved = least_squares(map(block, row_blocks(len(target))), zeros)
    sizes = [len(stage.decoder) for stage in dense]
    for stage, decoder in zip(dense, solved.split(sizes), strict=True):  # type: ignore[no-untyped-call]
        stage.set(decoder)
