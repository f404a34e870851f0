"""Random rotation and a scalar quantiser made for Gaussians (TurboQuant, arXiv 2504.19874)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, ortho_group

from .result import CannotFitError, Float32, Result, fp16, pack

_MOST_BITS = 8


def rotation_quantizer(table: Float32, max_bytes: int, seed: int) -> Result:
    """Rows less the mean, scaled to unit norm (fp16, stored), rotated, each coordinate quantised.

    After a random rotation every coordinate is nearly N(0, 1 / d), so one Lloyd-Max table of
    constants serves all data. Every coordinate has b bits or, for a share of them, b + 1; below
    one bit the coordinates beyond the share are dropped (decoded as 0). The rotation is its seed.
    """
    rows, width = table.shape
    fixed = 2 * width + 2 * rows + 8
    bits_a_row = 8 * (max_bytes - fixed - 1) // rows
    if bits_a_row < 1:
        raise CannotFitError(f"one bit a row takes {fixed + rows // 8 + 1:,} bytes")
    bits_a_row = min(bits_a_row, _MOST_BITS * width)
    base, share = divmod(bits_a_row, width)

    mean = fp16(table.mean(axis=0))
    rotation = ortho_group.rvs(width, random_state=seed).astype(np.float32)
    centred = table - mean
    norms = fp16(np.linalg.norm(centred, axis=1, keepdims=True))
    scale = norms / np.float32(np.sqrt(width))
    unit = (centred @ rotation) / np.maximum(scale, 1e-12)
    decoded = np.zeros_like(table)
    stored = {"mean": mean.astype(np.float16), "norms": norms.astype(np.float16)}
    stored["seed"] = np.array([seed], np.uint64)
    streams = []
    for columns, bits in ((slice(0, share), base + 1), (slice(share, width), base)):
        if bits and unit[:, columns].size:
            levels = lloyd_max(bits)
            codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, unit[:, columns])
            decoded[:, columns] = levels[codes]
            streams.append(_bits(codes, bits))
    stored["codes"] = np.packbits(np.concatenate(streams))
    decoded = mean + (decoded * scale) @ rotation.T
    if base:
        settings = f"{bits_a_row / width:.2f} bits a coordinate"
    else:
        settings = f"1 bit for {share} of {width} coordinates"
    return Result(decoded, stored, settings)


def _bits(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    return np.unpackbits(pack(codes, bits))[: codes.size * bits]


@cache
def lloyd_max(bits: int) -> Float32:
    """Levels float32 [2**bits] of least squared error for N(0, 1) (Lloyd 1957, Max 1960)."""
    levels = norm.ppf((np.arange(2**bits) + 0.5) / 2**bits)
    for _ in range(2000):
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        levels = (norm.pdf(edges[:-1]) - norm.pdf(edges[1:])) / np.diff(norm.cdf(edges))
    return levels.astype(np.float32)
