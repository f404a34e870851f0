"""Whether the outputs of a model in one place equal those on the CPU."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.feeds import draw_ids

from ..report.report import OutputCheck
from .job import Answer

Float32 = NDArray[np.float32]


def draw_check_ids(rows: int, point: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Token ids [texts][tokens], always the same, of a vocabulary of ``rows`` (0: unknown)."""
    ids = draw_ids(np.random.default_rng(0), *point, rows or None)
    return tuple(map(tuple, ids.tolist()))


def compare(found: Answer, wanted: Answer, limit: float) -> OutputCheck:
    """The largest relative error of any output; None for an output that cannot be compared.

    The error of an output is the root mean square of the difference over that of the output. The
    largest difference of a single value would not do: where activations are rounded to bytes, two
    correct kernels differ much in some values. Outputs that are missing, of another shape, or not
    finite cannot be compared.
    """
    error = 0.0
    for name, told in wanted.outputs.items():
        expected, values = _array(told), _array(found.outputs.get(name))
        if expected is None or values is None or values.shape != expected.shape:
            return OutputCheck(None, limit)
        if not np.isfinite(values).all():
            return OutputCheck(None, limit)
        if expected.size:
            scale = float(np.linalg.norm(expected)) or 1.0
            error = max(error, float(np.linalg.norm(values - expected)) / scale)
    return OutputCheck(error, limit)


def _array(told: dict[str, Any] | None) -> Float32 | None:
    """The array in ``told``, which may come from a device; None if there is none."""
    try:
        data, dims = (told or {})["data"], (told or {})["dims"]
        return np.frombuffer(base64.b64decode(data), "<f4").reshape(dims)
    except (KeyError, TypeError, ValueError):
        return None
