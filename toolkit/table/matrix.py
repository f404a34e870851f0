"""Reading a table from a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

BLOCK_ROWS = 8192


def row_blocks(rows: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices that cover 0 .. rows - 1, each of ``size`` rows but the last."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


_FLOATS = {"F64", "F32", "F16", "BF16"}


def read_matrix(path: Path, tensor: str | None = None) -> NDArray[Any]:
    """A matrix from ``.npy`` (memory-mapped) or from a tensor of a ``.safetensors`` file.

    Args:
        path: the file.
        tensor: name in a .safetensors file; by default its largest floating-point matrix.

    Raises:
        InputError: no such file or tensor, another format, or a damaged file.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give a .npy or .safetensors file")
    if path.suffix == ".npy":
        try:
            matrix: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"{path} is no .npy file ({error}); save it with numpy.save"
            ) from error
        return matrix
    if path.suffix == ".safetensors":
        return _from_safetensors(path, tensor)
    raise InputError(f"{path.name} is neither .npy nor .safetensors; save the table as one of them")


def _from_safetensors(path: Path, name: str | None) -> NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            slices = {key: file.get_slice(key) for key in names}
            sizes = {
                key: int(np.prod(part.get_shape()))
                for key, part in slices.items()
                if len(part.get_shape()) == 2 and part.get_dtype() in _FLOATS
            }
            if name is None:
                if not sizes:
                    raise InputError(f"{path} holds no floating-point matrix")
                name = max(sizes, key=lambda key: sizes[key])
            if name not in slices:
                near = ", ".join(sorted(sizes, key=lambda key: -sizes[key])[:3])
                raise InputError(f"{path} has no tensor {name!r}; its largest matrices: {near}")
            if slices[name].get_dtype() == "BF16":
                import ml_dtypes  # noqa: F401  registers bfloat16 with numpy
            tensor: NDArray[Any] = file.get_tensor(name)
            return tensor
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no safetensors file ({reason}); copy it again") from error
