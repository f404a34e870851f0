"""The LightToken recipe: low rank, staged binary autoencoders, refinement, bits."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import bitpack
from .autoencoder import train_stages
from .blocks import row_blocks
from .budget import Layout
from .config import LightTokenConfig
from .embedding import (
    CompressedEmbedding,
    DenseDecoder,
    DiagonalDecoder,
    Float32,
    Int8,
    LowRank,
    RowOrder,
    Stage,
)
from .lowrank import truncated_svd
from .progress import Meter, Progress
from .refine import JOINT_ROUNDS, Plane, Refined, fit_planes, refine


def train(
    table: Float32,
    ids: NDArray[np.int64],
    position_weights: NDArray[np.float64],
    order: RowOrder | None,
    layout: Layout,
    config: LightTokenConfig,
    seed: int,
    progress: Progress | None,
) -> CompressedEmbedding:
    """Fill ``layout`` with the codes and decoders that fit ``table`` [V, d] best.

    ``ids`` int64 [V] is the id at each position and ``position_weights`` [V] its importance.
    """
    # The square root keeps the frequent rows from taking the whole decoder for themselves.
    row_weights = np.sqrt(position_weights)
    row_weights /= row_weights.mean()
    mean = _weighted_mean(table, ids, row_weights)
    residual = np.empty_like(table)  # the one full copy
    _fill_residual(residual, table, ids, mean, None)
    lowrank = None
    if layout.rank:
        by_position = truncated_svd(residual, layout.rank)
        lowrank = LowRank(_by_id(by_position.left, ids), by_position.right, by_position.scale)
        _fill_residual(residual, table, ids, mean, lowrank)
    stages = _train_codes(
        _Rows(table, ids, mean, lowrank, residual), row_weights, layout, config, seed, progress
    )
    return CompressedEmbedding(len(table), table.shape[1], mean, stages, lowrank, order)


class _Rows:
    """The table's rows by position on the device that trains, and what is left of them."""

    def __init__(
        self,
        table: Float32,
        ids: NDArray[np.int64],
        mean: Float32,
        lowrank: LowRank | None,
        residual: Float32,
    ) -> None:
        self._table, self._ids, self._mean, self._lowrank = table, ids, mean, lowrank
        self._residual = residual
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.residual = torch.from_numpy(residual).to(self.device)

    def target(self, positions: Tensor) -> Tensor:
        """The table's own rows, float [n, d]."""
        return torch.from_numpy(self._table[self._ids[positions.cpu().numpy()]]).to(self.device)

    def restore(self) -> Tensor:
        """The residual as it was before stages took their parts away."""
        _fill_residual(self._residual, self._table, self._ids, self._mean, self._lowrank)
        self.residual.copy_(torch.from_numpy(self._residual))
        return self.residual


def _weighted_mean(table: Float32, ids: NDArray[np.int64], weights: NDArray[np.float64]) -> Float32:
    by_id = np.empty_like(weights)
    by_id[ids] = weights
    total = np.zeros(table.shape[1])
    for rows in row_blocks(len(table)):
        total += by_id[rows] @ table[rows].astype(np.float64)
    return (total / len(table)).astype(np.float32)


def _fill_residual(
    residual: Float32,
    table: Float32,
    ids: NDArray[np.int64],
    mean: Float32,
    lowrank: LowRank | None,
) -> None:
    """Rows by position, less the mean and the low-rank part."""
    for rows in row_blocks(len(table)):
        block = ids[rows]
        np.subtract(table[block], mean, out=residual[rows])
        if lowrank is not None:
            residual[rows] -= lowrank.decode(block.astype(np.int32))


def _train_codes(
    rows: _Rows,
    row_weights: NDArray[np.float64],
    layout: Layout,
    config: LightTokenConfig,
    seed: int,
    progress: Progress | None,
) -> tuple[Stage, ...]:
    weights = torch.from_numpy(row_weights.astype(np.float32)).to(rows.device)
    if not layout.bits:
        if progress is not None:
            progress(0.0, "fitting the planes")
        planes = fit_planes(rows.residual, layout.tiers, weights)
        return tuple(_diagonal(plane) for plane in planes)
    epochs = config.autoencoder_stages * config.epochs
    joint = JOINT_ROUNDS if config.refine_rounds and layout.tiers else 0
    meter = Meter(progress, epochs, config.refine_rounds + joint)
    generator = torch.Generator().manual_seed(seed)
    signs, _, _ = train_stages(
        rows.target, rows.residual, layout.bits, weights, config, generator, meter.epoch_done
    )
    refined = refine(
        rows.restore(),
        signs,
        layout.tiers,
        weights,
        rounds=config.refine_rounds,
        flips=config.flips,
        on_round=meter.round_done,
    )
    return _pack(refined)


def _pack(refined: Refined) -> tuple[Stage, ...]:
    decoder = DenseDecoder(
        refined.decoder.weight.cpu().numpy().astype(np.int8),
        refined.decoder.scale.cpu().numpy().astype(np.float32),
    )
    dense = Stage(bitpack.pack(refined.signs.cpu().numpy() > 0), decoder)
    return (dense, *(_diagonal(plane) for plane in refined.planes))


def _diagonal(plane: Plane) -> Stage:
    decoder = DiagonalDecoder(plane.scale.cpu().numpy().astype(np.float32))
    return Stage(bitpack.pack(plane.signs.cpu().numpy() > 0), decoder)


def _by_id(left: Int8 | Float32, ids: NDArray[np.int64]) -> Int8 | Float32:
    """Factors are stored by id, codes by position."""
    by_id = np.empty_like(left)
    by_id[ids] = left
    return by_id
