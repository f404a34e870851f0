"""The native kernel of ``ai.lighttoken::CompressedEmbedding``: where it is, and whether it loads.

It is optional. Without it onnxruntime runs the node's function body. Looked-up rows are the same
but for their last bits; a head's logits differ by the rounding of hidden states to 8 bits, products
with codes of a trellis by the rounding of their rows to 7.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from toolkit.errors import InputError
from toolkit.ort import ORT_ERRORS, one_line

from .custom_op.build import LIBRARY

VARIABLE = "LIGHTTOKEN_OP"  # a path in place of the package's own library


@dataclass(frozen=True)
class Native:
    """The kernel's library.

    Attributes:
        path: the library, None where there is none.
        problem: why onnxruntime refuses it, None where it loads.
    """

    path: Path | None
    problem: str | None = None

    @property
    def usable(self) -> bool:
        """Whether sessions can have it."""
        return self.path is not None and self.problem is None


def find() -> Native:
    """Look for the library and load it once; it is never an error that there is none."""
    path = _path()
    if not path.is_file():
        named = os.environ.get(VARIABLE)
        return Native(None, f"{VARIABLE}={named} is not there" if named else None)
    return Native(path, _register(onnxruntime.SessionOptions(), path))


def get_library_path() -> str:
    """The kernel's library, as ``SessionOptions.register_custom_ops_library`` takes it.

    In any language that has onnxruntime: C# and Java call it RegisterCustomOpLibrary and
    registerCustomOpLibrary, onnxruntime-genai ``custom_ops_library``.

    Raises:
        InputError: it is not there.
    """
    path = _path()
    if not path.is_file():
        raise InputError(f"the kernel's library is not at {path}; build it with `lighttoken op`")
    return str(path)


def register(options: onnxruntime.SessionOptions) -> bool:
    """Give sessions of ``options`` the kernel, if there is one that loads."""
    path = _path()
    return path.is_file() and _register(options, path) is None


def _path() -> Path:
    return Path(os.environ.get(VARIABLE) or LIBRARY)


def _register(options: onnxruntime.SessionOptions, path: Path) -> str | None:
    try:
        options.register_custom_ops_library(str(path))
    except ORT_ERRORS as error:
        return one_line(error)
    return None
