"""The LightToken recipe: low rank, staged binary autoencoders, refinement, bits."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import bitpack
from .autoencoder import train_stages
from .budget import Layout
from .config import LightTokenConfig
from .embedding import (
    CompressedEmbedding,
    DenseDecoder,
    DiagonalDecoder,
    Float32,
    LowRank,
    RowOrder,
    Stage,
)
from .lowrank import truncated_svd
from .progress import Meter, Progress
from .refine import Refined, fit_planes, refine

_JOINT_ROUNDS = 2  # refine()'s rounds after the planes are fitted


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
    rows = table[ids]
    mean = (row_weights[:, None] * rows).mean(axis=0, dtype=np.float64).astype(np.float32)
    lowrank = truncated_svd(rows - mean, layout.rank) if layout.rank else None
    base = np.broadcast_to(mean, rows.shape).copy()
    if lowrank is not None:
        base += lowrank.decode(np.arange(len(rows), dtype=np.int32))
        lowrank = LowRank(_by_id(lowrank.left, ids), lowrank.right, lowrank.scale)

    target, explained = torch.from_numpy(rows), torch.from_numpy(base)
    weights = torch.from_numpy(row_weights.astype(np.float32))
    stages = _train_codes(target, explained, weights, layout, config, seed, progress)
    return CompressedEmbedding(len(table), table.shape[1], mean, stages, lowrank, order)


def _train_codes(
    target: Tensor,
    explained: Tensor,
    weights: Tensor,
    layout: Layout,
    config: LightTokenConfig,
    seed: int,
    progress: Progress | None,
) -> tuple[Stage, ...]:
    if not layout.bits:
        if progress is not None:
            progress(0.0, "fitting the planes")
        planes = fit_planes(target - explained, layout.tiers, weights)
        return tuple(_diagonal(plane.signs, plane.scale) for plane in planes)
    epochs = config.autoencoder_stages * config.epochs
    joint = _JOINT_ROUNDS if config.refine_rounds and layout.tiers else 0
    meter = Meter(progress, epochs, config.refine_rounds + joint)
    generator = torch.Generator().manual_seed(seed)
    signs, _ = train_stages(
        target, explained, layout.bits, weights, config, generator, meter.epoch_done
    )
    refined = refine(
        target - explained,
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
        refined.decoder.weight.numpy().astype(np.int8),
        refined.decoder.scale.numpy().astype(np.float32),
    )
    dense = Stage(bitpack.pack(refined.signs.numpy() > 0), decoder)
    return (dense, *(_diagonal(plane.signs, plane.scale) for plane in refined.planes))


def _diagonal(signs: Tensor, scale: Tensor) -> Stage:
    decoder = DiagonalDecoder(scale.numpy().astype(np.float32))
    return Stage(bitpack.pack(signs.numpy() > 0), decoder)


def _by_id(left: NDArray[np.int8], ids: NDArray[np.int64]) -> NDArray[np.int8]:
    """Factors are stored by id, codes by position."""
    by_id = np.empty_like(left)
    by_id[ids] = left
    return by_id
