"""A graph's inputs and outputs, as onnxruntime tells them, in numpy's words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RENAMED = {"float": "float32", "double": "float64"}  # numpy's words for onnxruntime's
_NUMPY_TYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
_TENSOR = re.compile(r"^tensor\((\w+)\)$")


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a graph.

    Attributes:
        dtype: numpy's name (``int64``, ``float32``), or onnxruntime's where numpy has none.
        shape: a symbolic dimension is a string, an unnamed one None.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    @property
    def numpy_dtype(self) -> np.dtype[np.generic] | None:
        """The same as a numpy type; None where plain numpy has none (bfloat16, string)."""
        return np.dtype(self.dtype) if self.dtype in _NUMPY_TYPES else None


def describe(nodes: Sequence[Any]) -> tuple[TensorInfo, ...]:
    """What ``InferenceSession.get_inputs()`` or ``get_outputs()`` returned."""
    return tuple(TensorInfo(n.name, _numpy_name(n.type), tuple(n.shape)) for n in nodes)


def _numpy_name(ort_type: str) -> str:
    match = _TENSOR.match(ort_type)
    if match is None:
        return ort_type
    name = match.group(1)
    return _RENAMED.get(name, name)
