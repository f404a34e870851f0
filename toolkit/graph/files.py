"""The files that make up one model, and the tensors in them; no external data is read."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ..errors import FormatError
from ..quiet import first_line
from .external import Named, check_tensors


def model_files(path: Path) -> tuple[Path, ...]:
    """The ``.onnx`` file and every external data file that it names; a ``.ort`` file has none.

    Raises:
        FormatError: no ONNX file, or an external file is missing.
    """
    if path.suffix == ".ort":
        return (path,)
    names = {
        ExternalDataInfo(tensor).location
        for _, tensor in model_tensors(load_proto(path))
        if uses_external_data(tensor)
    }
    files = (path, *sorted(path.parent / name for name in names))
    for file in files:
        if not file.is_file():
            raise FormatError(f"{file} is missing; {path.name} keeps weights in it, copy it too")
    return files


def model_nbytes(path: Path) -> int:
    """Bytes of a model's files: the ``.onnx`` file and the external data that it names."""
    return sum(file.stat().st_size for file in model_files(path))


def load_proto(path: Path) -> onnx.ModelProto:
    """The model without its external data.

    Raises:
        FormatError: no ONNX file, or a tensor that is not where or as large as it says.
    """
    try:
        # Always protobuf, as onnxruntime reads it: onnx would choose a text format by the name.
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise FormatError(
            f"{path} is no ONNX model ({first_line(error)}); give an .onnx file"
        ) from error
    check_tensors(model_tensors(model), path)
    return model


def model_tensors(model: onnx.ModelProto) -> Named:
    """Every tensor of the graph, its branches and the functions, with its value's name, or ""."""
    yield from graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from node_tensors(node)


def graph_tensors(graph: onnx.GraphProto) -> Named:
    """Initializers and tensors of nodes, those of branches included."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        yield from node_tensors(node)


def node_tensors(node: onnx.NodeProto) -> Named:
    """Tensors among a node's attributes; a Constant's has the name of its output."""
    name = node.output[0] if node.op_type == "Constant" and node.output else ""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield name, attribute.t
        for tensor in attribute.tensors:
            yield name, tensor
        if attribute.HasField("g"):
            yield from graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from graph_tensors(graph)
