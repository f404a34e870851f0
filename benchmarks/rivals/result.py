"""What a rival hands back: the decoded table and the very arrays that a file would hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class CannotFitError(ValueError):
    """No setting of the method fits the bytes."""


class TooSlowError(RuntimeError):
    """The method would run for longer than the benchmark gives a cell."""


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed table.

    Attributes:
        decoded: float32 [V, d], computed from ``stored`` alone.
        stored: every array that has to be kept, packed, in the type it is kept in.
        settings: the parameters chosen, for people.
    """

    decoded: Float32
    stored: Mapping[str, NDArray[Any]]
    settings: str

    @property
    def nbytes(self) -> int:
        """Bytes of all stored arrays; no header is counted, to the rivals' advantage."""
        return sum(array.nbytes for array in self.stored.values())


Rival = Callable[[Float32, int, int], Result]  # (table [V, d], max_bytes, seed)


def pack(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """``codes`` in 0 .. 2**bits - 1, any shape, as a bit stream, ceil(size * bits / 8) bytes."""
    shifts = np.arange(bits, dtype=codes.dtype)
    return np.packbits(((codes.reshape(-1, 1) >> shifts) & 1).astype(np.uint8))


def fp16(values: NDArray[np.floating]) -> Float32:
    """The values as float16 keeps them, back in float32."""
    return values.astype(np.float16).astype(np.float32)


def squared_error(table: Float32, decoded: Float32) -> float:
    """Summed over all entries."""
    return float(((table - decoded) ** 2).sum(dtype=np.float64))
