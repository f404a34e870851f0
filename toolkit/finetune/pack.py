"""Turn trained floats back into the stored integers and scales."""

import numpy as np

from ..table.components import DenseDecoder, Float32, LowRank

_INT8 = 127
_TINY = 1e-30  # a column of zeros has a scale too


def as_weight(decoder: Float32, like: DenseDecoder) -> DenseDecoder:
    """A decoder float32 [latents, d], int8 with a scale a column or floats, as ``like`` is."""
    if like.scale is None:
        return DenseDecoder(decoder)
    scale = np.maximum(np.abs(decoder).max(axis=0), _TINY) / _INT8
    weight = np.rint(decoder / scale).clip(-_INT8, _INT8)
    return DenseDecoder(weight.astype(np.int8), scale.astype(np.float32))


def as_lowrank(left: Float32, right: Float32, like: LowRank) -> LowRank:
    """Factors float32 [V, k] and [k, d], int8 with a scale a rank or floats, as ``like`` is.

    The scale of ``right`` is free to take that of ``left``, so either uses all of its 8 bits.
    """
    if like.scale is None:
        return LowRank(left, right)
    left_scale = np.maximum(np.abs(left).max(axis=0), _TINY) / _INT8
    right_scale = np.maximum(np.abs(right).max(axis=1), _TINY) / _INT8
    return LowRank(
        np.rint(left / left_scale).astype(np.int8),
        np.rint(right / right_scale[:, None]).astype(np.int8),
        (left_scale * right_scale).astype(np.float32),
    )
