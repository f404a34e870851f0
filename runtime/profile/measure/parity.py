"""Whether a model gives in one place what it gives on the CPU."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.feeds import draw_ids

from ..report.report import Parity
from .job import Answer

Float32 = NDArray[np.float32]


def draw_check_ids(rows: int, point: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Token ids [texts][tokens], always the same, of a vocabulary of ``rows`` (0: unknown)."""
    ids = draw_ids(np.random.default_rng(0), *point, rows or None)
    return tuple(map(tuple, ids.tolist()))


def compare(found: Answer, wanted: Answer, limit: float) -> Parity:
    """The largest error over all outputs: root mean square of the difference, over the output's.

    Not the largest difference of one value: where activations are rounded to bytes, that says
    little of two right kernels.

    An output that is missing, of another shape, or not a number has no error that one could state.
    """
    error = 0.0
    for name, told in wanted.outputs.items():
        expected, values = _array(told), _array(found.outputs.get(name))
        if expected is None or values is None or values.shape != expected.shape:
            return Parity(None, limit)
        if not np.isfinite(values).all():
            return Parity(None, limit)
        if expected.size:
            scale = float(np.linalg.norm(expected)) or 1.0
            error = max(error, float(np.linalg.norm(values - expected)) / scale)
    return Parity(error, limit)


def _array(told: dict[str, Any] | None) -> Float32 | None:
    """None for what is no array; it may come from a device."""
    try:
        data, dims = (told or {})["data"], (told or {})["dims"]
        return np.frombuffer(base64.b64decode(data), "<f4").reshape(dims)
    except (KeyError, TypeError, ValueError):
        return None
