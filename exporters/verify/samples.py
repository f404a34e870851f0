"""Real inputs for the checks, of models that made-up ones do not suit."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError
from toolkit.json_files import load_json

Samples = dict[str, NDArray[np.generic]]
_MOST_BYTES = 2**30  # of a file: one call's inputs are small


def read_samples(path: Path) -> Samples:
    """One call's inputs by name, from an ``.npz`` of arrays or a ``.json`` of nested lists.

    Raises:
        InputError: no such file, or one that holds something else.
    """
    if not path.is_file():
        raise InputError(f"--sample-inputs {path} is not here; give an .npz or .json file")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"--sample-inputs {path} is larger than 1 GiB; give one call's inputs")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                found = {str(name): held[name] for name in held.files}
        elif path.suffix == ".json":
            data = load_json(path, strict=True)
            found = {str(name): np.asarray(values) for name, values in dict(data).items()}
        else:
            raise InputError(f"--sample-inputs {path} is neither .npz nor .json; give one of them")
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--sample-inputs {path} cannot be read ({reason}); give an .npz or .json file that can"
        ) from error
    for name, values in found.items():
        if values.dtype.kind not in "biuf":
            raise InputError(
                f"--sample-inputs {path}: {name} is of type {values.dtype}; give numbers, in lists "
                "of equal length"
            )
    return found


def fit_samples(
    samples: Mapping[str, NDArray[np.generic]], inputs: Sequence[TensorInfo]
) -> Samples:
    """``samples`` as a graph takes them: its inputs, of its types.

    Raises:
        InputError: one is missing, or has another rank or size than the graph fixes.
    """
    fitted: Samples = {}
    for info in inputs:
        if info.name not in samples:
            given = ", ".join(samples) or "nothing"
            raise InputError(
                f"--sample-inputs lacks the input {info.name}; it holds {given}: add what "
                "is missing"
            )
        values, kind = samples[info.name], info.numpy_dtype
        fixed = [
            wanted if isinstance(wanted, int) else size
            for wanted, size in zip(info.shape, values.shape, strict=False)
        ]
        if values.ndim != len(info.shape) or list(values.shape) != fixed:
            raise InputError(
                f"--sample-inputs: {info.name} has shape {list(values.shape)}, the model takes "
                f"{list(info.shape)}; give that shape"
            )
        if kind is None:
            raise InputError(
                f"input {info.name} has type {info.dtype}, which numpy has not; give a model whose "
                "inputs are numbers that it has"
            )
        fitted[info.name] = np.ascontiguousarray(values, dtype=kind)
    return fitted
