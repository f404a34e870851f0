"""Dense modules of sentence-transformers and PyLate: a linear layer behind the encoder, and what
follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingDependencyError
from ..json_files import read_json

Float32 = NDArray[np.float32]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SETTINGS = "config.json"


def _sigmoid(values: Float32) -> Float32:
    found: Float32 = np.reciprocal(1 + np.exp(-values), dtype=np.float32)
    return found


# The ends of their names in torch.
ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "SiLU": lambda x: x * _sigmoid(x),
}


@dataclass(frozen=True, eq=False)
class Dense:
    """y = activation(W x + b), plus x or R x where it has a residual.

    Attributes:
        weight: W, float32 [out, in].
        bias: b, float32 [out]; None for none.
        activation: a word of :data:`ACTIVATIONS`.
        residual: R, float32 [out, in]; None for none. A residual of x itself is the identity.
    """

    weight: Float32
    bias: Float32 | None = None
    activation: str = "Identity"
    residual: Float32 | None = None

    def __call__(self, vectors: Float32) -> Float32:
        """Float32 [..., in] -> [..., out]."""
        found: Float32 = vectors @ self.weight.T
        if self.bias is not None:
            found = found + self.bias
        found = ACTIVATIONS[self.activation](found)
        return found if self.residual is None else found + vectors @ self.residual.T


@dataclass(frozen=True)
class DenseSize:
    """Numbers of a vector that goes in, and of one that comes out."""

    inputs: int
    outputs: int


def dense_size(folder: Path) -> DenseSize:
    """What a module's settings say.

    Raises:
        InputError: they are not there, or say nothing.
        FormatError: they are damaged.
    """
    path = folder / _SETTINGS
    config = read_json(path)
    sizes = [config.get(key) for key in ("in_features", "out_features")]
    inputs, outputs = (size if isinstance(size, int) else 0 for size in sizes)
    if min(inputs, outputs) < 1:
        raise InputError(
            f"{path} names no in_features and out_features of a projection; copy the model again"
        )
    return DenseSize(inputs, outputs)


def read_dense(folder: Path) -> Dense:
    """The module in ``folder``.

    Raises:
        InputError: a file is missing, is none of its kind, or asks for what is not known here.
        MissingDependencyError: the weights are a .bin file, and torch is not installed.
    """
    size, config = dense_size(folder), read_json(folder / _SETTINGS)
    activation = str(config.get("activation_function") or "Identity").rsplit(".", 1)[-1]
    if activation not in ACTIVATIONS:
        raise InputError(
            f"{folder / _SETTINGS} asks for the activation {activation}, which is not known here; "
            f"known are {', '.join(ACTIVATIONS)}"
        )
    tensors = _tensors(folder)
    weight = _matrix(folder, tensors, "linear.weight", size)
    bias = tensors.get("linear.bias")
    residual = None
    if config.get("use_residual"):
        same = size.inputs == size.outputs
        residual = (
            np.eye(size.inputs, dtype=np.float32)
            if same
            else _matrix(folder, tensors, "residual.weight", size)
        )
    return Dense(weight, bias, activation, residual)


def read_linear(folder: Path) -> Dense:
    """The projection that colbert-ir keeps among the weights of the whole model.

    Raises:
        InputError: the weights are missing or hold none.
        MissingDependencyError: as :func:`read_dense`.
    """
    return Dense(_matrix(folder, _tensors(folder, only="linear.weight"), "linear.weight"))


def _matrix(
    folder: Path, tensors: dict[str, Float32], name: str, size: DenseSize | None = None
) -> Float32:
    found = tensors.get(name)
    if found is None or found.ndim != 2:
        raise InputError(f"{folder} holds no matrix {name}, its projection; copy the model again")
    if size is not None and found.shape != (size.outputs, size.inputs):
        raise InputError(
            f"{name} in {folder} is {list(found.shape)}, where its settings say "
            f"{[size.outputs, size.inputs]}; copy the model again"
        )
    return found


def _tensors(folder: Path, only: str | None = None) -> dict[str, Float32]:
    """Every tensor of a folder's weights in float32, or ``only`` that one."""
    return {name: np.asarray(each, np.float32) for name, each in read_tensors(folder, only).items()}


def read_tensors(folder: Path, only: str | None = None) -> dict[str, NDArray[Any]]:
    """Every tensor of a folder's weights as it is stored, or ``only`` that one.

    Raises:
        InputError: there are no weights, or they are damaged.
        MissingDependencyError: the weights are a .bin file, and torch is not installed.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            f"{folder / WEIGHTS[0]} is missing, which holds the projection of the token vectors; "
            "copy the model again"
        )
    read = _from_safetensors if path.name == WEIGHTS[0] else _from_torch
    return read(path, only)


def _from_safetensors(path: Path, only: str | None) -> dict[str, Any]:
    import ml_dtypes  # noqa: F401  registers bfloat16 with numpy
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if only in (None, name)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no safetensors file ({reason}); copy it again") from error


def _from_torch(path: Path, only: str | None) -> dict[str, Any]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path} needs torch to be read; pip install 'lighttoken[export]', or save it as "
            f"{WEIGHTS[0]}"
        ) from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file makes of it
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path} is no file of weights ({reason}); copy it again") from error
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in held.items()
        if only in (None, name)
    }
