"""Round to nearest in small groups, as ONNX Runtime, ExecuTorch and llama.cpp ship it."""

from dataclasses import dataclass

import numpy as np

from .result import Float32, Result, fp16, pack

_CLIPS = np.linspace(1.0, 0.4, 25)  # scales tried, as a share of the one that clips nothing


@dataclass(frozen=True)
class RoundToNearest:
    """``bits`` an entry and one fp16 scale for each ``group`` entries of a row.

    It has the size it has: ``max_bytes`` is not looked at. 2 and 3 bits use levels at half steps
    (-1.5, -0.5, 0.5, 1.5), which wastes none; the scale of a group is the best of 25.
    """

    bits: int
    group: int = 32

    def __call__(self, table: Float32, max_bytes: int, seed: int) -> Result:
        """Quantise ``table`` [V, d]; the last group of a row may be short."""
        rows, width = table.shape
        groups = -(-width // self.group)
        padded = np.zeros((rows, groups * self.group), np.float32)
        padded[:, :width] = table
        blocks = padded.reshape(-1, self.group)
        half = 0.5 if self.bits <= 3 else 0.0
        low = -(2 ** (self.bits - 1))
        high = -low - 1
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        best = np.full((len(blocks), 1), np.inf, np.float32)
        codes = np.zeros(blocks.shape, np.int16)
        scales = np.zeros((len(blocks), 1), np.float32)
        for clip in _CLIPS:
            scale = fp16(np.maximum(largest * clip / (high + half), 1e-7))
            trial = np.clip(np.round(blocks / scale - half), low, high)
            error = ((blocks - (trial + half) * scale) ** 2).sum(axis=1, keepdims=True)
            better = error < best
            best = np.where(better, error, best)
            scales = np.where(better, scale, scales)
            codes = np.where(better, trial.astype(np.int16), codes)
        decoded = ((codes + np.float32(half)) * scales).reshape(rows, -1)[:, :width]
        kept = codes.reshape(rows, -1)[:, :width] - low
        return Result(
            np.ascontiguousarray(decoded, np.float32),
            {"codes": pack(kept, self.bits), "scales": scales.astype(np.float16)},
            f"int{self.bits}, groups of {self.group}",
        )
