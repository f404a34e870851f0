"""Where a model's tensors keep their values, checked before anybody reads them there.

An ``.onnx`` file may come from anyone, and names other files, offsets and lengths. onnx, onnx-ir
and onnxruntime each check some of that in some of their versions. Here it is checked once for all
of them: no name leads out of the model's folder, and every tensor is as large as it says.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from ..errors import FormatError
from ..inside import is_in_folder, leads_out

Named = Iterator[tuple[str, onnx.TensorProto]]

_MOST_BYTES = 1 << 48  # of a tensor: beyond what any machine holds
_DIGITS = 19  # of an offset or a length: what 63 bits hold
_BITS_BELOW_A_BYTE = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_NO_SIZE = ("STRING", "FLOAT6E2M3", "FLOAT6E3M2")  # of theirs onnx does not tell it


def check_tensors(tensors: Named, path: Path) -> None:
    """Whether the tensors of the model in ``path`` can be read where they say they are.

    Args:
        tensors: each with its name, or "".
        path: the .onnx file.

    Raises:
        FormatError: a name of a file that leads out of the model's folder, by itself or by a link;
            an offset or a length that is no number or lies outside of the file; sizes that are
            negative, that no machine holds, or that do not fit the values; an unknown type.
    """
    checked: set[str] = set()
    for name, tensor in tensors:
        try:
            size = _stored_bytes(tensor)
            if uses_external_data(tensor):
                at, offset, length = _place(tensor)
                if at not in checked:
                    _check_file(at, path)
                    checked.add(at)
                _check_span(beside(path, at), offset, length, size)
            elif size is not None and tensor.HasField("raw_data"):
                held = len(tensor.raw_data)
                _need(held == size, f"should have {size:,} bytes, it has {held:,}")
        except FormatError as error:
            called = f"tensor {name or tensor.name!r}"
            raise FormatError(f"{path}: {called} {error}; copy or export it again") from error


def beside(path: Path, name: str) -> Path:
    """Where the file ``name`` of the model in ``path`` is.

    A link to an .onnx file may stand alone: its data are then beside what it leads to.
    """
    here = path.parent / name
    return here if os.path.lexists(here) else path.resolve().parent / name


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(what)


def _stored_bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes of the values as ``raw_data``; None for types that do not say."""
    _need(all(size >= 0 for size in tensor.dims), f"has sizes {list(tensor.dims)}")
    kinds = onnx.TensorProto.DataType
    _need(
        tensor.data_type in kinds.values() and tensor.data_type != kinds.Value("UNDEFINED"),
        f"is of type {tensor.data_type}, which ONNX does not have",
    )
    kind = kinds.Name(tensor.data_type)
    count = math.prod(tensor.dims)
    _need(count < _MOST_BYTES, f"has sizes {list(tensor.dims)}, which no machine holds")
    if kind in _NO_SIZE:
        return None
    if kind in _BITS_BELOW_A_BYTE:
        return -(-count * _BITS_BELOW_A_BYTE[kind] // 8)
    return count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _place(tensor: onnx.TensorProto) -> tuple[str, int, int | None]:
    told = {entry.key: entry.value for entry in tensor.external_data}
    at = told.get("location", "")
    _need(bool(at), "keeps its values in another file and names none")
    offset, length = told.get("offset") or "0", told.get("length") or None
    for word, value in (("offset", offset), ("length", length)):
        if value is not None and not (value.isascii() and value.isdigit()):
            raise FormatError(f"has {word} {value[:_DIGITS]!r}, which is no number of bytes")
        _need(value is None or len(value) <= _DIGITS, f"has a {word} beyond any file")
    return at, int(offset), None if length is None else int(length)


def _check_file(name: str, path: Path) -> None:
    _need(not leads_out(name), f"names the file {name[:80]!r}, outside of the model's folder")
    file = beside(path, name)
    if not os.path.lexists(file):
        return  # whoever reads it says what is missing
    _need(
        is_in_folder(file, path.parent) or is_in_folder(file, path.resolve().parent),
        f"is in {name}, a link that leads out of the model's folder",
    )
    _need(not file.exists() or file.is_file(), f"is in {name}, which is no file")


def _check_span(file: Path, offset: int, length: int | None, size: int | None) -> None:
    if size is None:
        size = length or 0
    _need(length in (None, size), f"should have {size:,} bytes, its length is {length}")
    if file.is_file():
        held = file.stat().st_size
        _need(
            offset + size <= held,
            f"ends at byte {offset + size:,}, and {file.name} is too short ({held:,} bytes)",
        )
