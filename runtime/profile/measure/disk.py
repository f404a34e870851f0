"""The files that make up one model."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from toolkit.errors import FormatError

_READ_CHUNK = 1 << 22  # bytes


def model_files(path: Path) -> tuple[Path, ...]:
    """The ``.onnx`` file and every external data file that it names; a ``.ort`` file has none.

    Raises:
        FormatError: no ONNX file, or an external file is missing.
    """
    if path.suffix == ".ort":
        return (path,)
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise FormatError(f"{path} is no ONNX file ({error}); export the model again") from error
    names = {
        ExternalDataInfo(tensor).location
        for tensor in _tensors(model)
        if uses_external_data(tensor)
    }
    files = (path, *sorted(path.parent / name for name in names))
    for file in files:
        if not file.is_file():
            raise FormatError(f"{file} is missing; {path.name} keeps weights in it, copy it too")
    return files


def drop(files: Sequence[Path]) -> bool:
    """Drop the files from the page cache; whether they are out of it, which few systems can do."""
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return False
    for path in files:
        with path.open("rb") as file:
            try:
                os.fsync(file.fileno())  # pages not yet on disk cannot be dropped
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
            except BlockingIOError:
                continue  # would have to wait for the disk
            except OSError:
                return False
        if path.stat().st_size:
            return False
    return True


def read_afresh(files: Sequence[Path]) -> None:
    """Drop each file from the page cache where the system can, then read it through.

    Linux maps a file in the blocks in which it came into the cache, larger ones if it was just
    written. Of two equal models, one just copied showed a quarter more resident memory.
    """
    drop(files)
    for path in files:
        with path.open("rb") as file:
            while file.read(_READ_CHUNK):
                pass


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)
