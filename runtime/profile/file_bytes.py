"""What the bytes of a model's files are for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from toolkit.errors import FormatError
from toolkit.graph.contract import DOMAIN, is_head, is_packed, packed_head_tensors, packed_tensors
from toolkit.graph.files import graph_tensors, load_proto, model_files, node_tensors
from toolkit.graph.gathers import row_gathers, table_tensors
from toolkit.graph.own_heads import find_own_heads

from .layer import find_layer

TOKENS, OTHERS, HEAD = "token table", "other tables", "output head"
WEIGHTS, GRAPH = "weights", "graph"
_LAYER = "\0"  # begins what is in place of a name: a constant in the body of a packed layer
_SMALL = 16  # numbers
_DATA = (
    *("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data"),
    "string_data",
)


def parts(model: Path, ids_input: str | None = None) -> dict[str, int]:
    """Bytes of a model's files by what they are for; the sum is that of the files on disk.

    ``token table``: every tensor of the embedding layer and of a packed output head, constants of
    its function included; a table that a head shares counts here, and once. ``other tables``:
    those that rows are looked up in by anything else, such as positions. ``output head``: its
    matrix where that is one of its own, packed or not; only where there is one. ``weights``: all
    other tensors. ``graph``: what is no tensor's data: nodes, names, and in files of tensors what
    aligns them.

    Only sizes are read, no tensor of an external file.

    Args:
        model: an ``.onnx`` file.
        ids_input: name of the input for token ids; None for that of
            :func:`toolkit.graph.ids.find_ids_input`.

    Raises:
        FormatError: no ONNX file, or an external file is missing.
    """
    files = model_files(model)
    if model.suffix == ".ort":
        raise FormatError(f"{model} is an .ort file, whose tensors are not read here")
    proto = load_proto(model)
    roles = _roles(ir.from_proto(proto).graph, ids_input)
    counted: dict[tuple[str, int], _Piece] = {}
    for name, tensor in _tensors(proto):
        piece = _Piece(roles.get(name, WEIGHTS), _stored_bytes(tensor, model))
        place = _place(tensor) or (f"\0{len(counted)}", 0)
        known = counted.get(place)
        # Two tensors may stand at one place in a file: a table's, and its other name.
        if known is None or _ORDER.index(piece.role) < _ORDER.index(known.role):
            counted[place] = piece
    found = dict.fromkeys(_ORDER, 0)
    for piece in counted.values():
        found[piece.role] += piece.bytes
    found[GRAPH] = sum(file.stat().st_size for file in files) - sum(found.values())
    if not found[HEAD]:
        del found[HEAD]
    return found


@dataclass(frozen=True)
class _Piece:
    role: str
    bytes: int


_ORDER = (TOKENS, OTHERS, HEAD, WEIGHTS, GRAPH)


def _roles(graph: ir.Graph, ids_input: str | None) -> dict[str, str]:
    """What the tensors are that are no weights, by the names of their values."""
    others = {value for gather in row_gathers(graph) for value in table_tensors(gather)}
    roles = {value.name: OTHERS for value in others if value.name}
    roles |= {value.name: TOKENS for value in packed_tensors(graph) if value.name}
    roles |= dict.fromkeys(find_layer(graph, ids_input).tensors, TOKENS)
    heads = packed_head_tensors(graph)
    for own in find_own_heads(graph, compare=False):
        heads |= own.tensors
    for node in graph.all_nodes():
        if is_packed(node):
            alone = is_head(node) and heads.issuperset(node.inputs[1:])
            roles[_LAYER + node.op_type] = HEAD if alone else TOKENS
    return roles | {value.name: HEAD for value in heads if value.name}


def _tensors(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Every tensor, with the name of the value that it is, if it is one."""
    yield from graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            for name, tensor in node_tensors(node):
                large = math.prod(tensor.dims) > _SMALL  # a head's row order, not a shape
                yield (
                    _LAYER + function.name if large and function.domain == DOMAIN else name,
                    tensor,
                )


def _stored_bytes(tensor: onnx.TensorProto, model: Path) -> int:
    """Bytes of its data where it is stored."""
    if not uses_external_data(tensor):
        whole = tensor.ByteSize()
        if tensor.HasField("raw_data"):
            return len(tensor.raw_data)
        bare = onnx.TensorProto()
        bare.CopyFrom(tensor)
        for field in _DATA:
            bare.ClearField(field)
        return whole - bare.ByteSize()
    info = ExternalDataInfo(tensor)
    if info.length is not None:
        return int(info.length)
    return (model.parent / info.location).stat().st_size - int(info.offset or 0)


def _place(tensor: onnx.TensorProto) -> tuple[str, int] | None:
    """File and offset of an external tensor."""
    if not uses_external_data(tensor):
        return None
    info = ExternalDataInfo(tensor)
    return info.location, int(info.offset or 0)
