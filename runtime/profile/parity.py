"""Whether a model gives in one place what it gives on the CPU."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .job import Answer
from .report import Parity

Float32 = NDArray[np.float32]


_SAFE_ROWS = 1000  # ids below it are valid in any real vocabulary


def draw_check_ids(rows: int, point: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Token ids [texts][tokens], always the same, of a vocabulary of ``rows`` (0: unknown)."""
    ids = np.random.default_rng(0).integers(0, rows or _SAFE_ROWS, point)
    return tuple(map(tuple, ids.tolist()))


def compare(found: Answer, wanted: Answer, limit: float) -> Parity:
    """The largest difference over all outputs, in shares of an output's largest value.

    An output that is missing, of another shape, or not a number is no share of anything.
    """
    error = 0.0
    for name, told in wanted.outputs.items():
        expected, values = _array(told), _array(found.outputs.get(name))
        if expected is None or values is None or values.shape != expected.shape:
            return Parity(None, limit)
        if not np.isfinite(values).all():
            return Parity(None, limit)
        if expected.size:
            scale = float(np.abs(expected).max()) or 1.0
            error = max(error, float(np.abs(values - expected).max()) / scale)
    return Parity(error, limit)


def _array(told: dict[str, Any] | None) -> Float32 | None:
    """None for what is no array; it may come from a device."""
    try:
        data, dims = (told or {})["data"], (told or {})["dims"]
        return np.frombuffer(base64.b64decode(data), "<f4").reshape(dims)
    except (KeyError, TypeError, ValueError):
        return None
