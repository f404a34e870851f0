"""Where a graph looks rows up in stored tables: found by use, but for packed tables, by name."""

import re
from collections.abc import Iterator

import onnx_ir as ir

from toolkit.bundle.feeds import NOT_IDS
from toolkit.graph.contract import DOMAIN

from .placement.partitioned_graph import constant

DECODE = "CompressedEmbedding"  # the function of a second table has a number behind it
HEAD = "CompressedHead"

_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_KEEPS_IDS = {
    *("Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"),
    *("Slice", "Expand", "Transpose"),
}
_REMAKES = {"DequantizeLinear", "Cast", "Reshape", "Identity"}
_CODES = re.compile(r"^(|.+\.)stages\.\d+\.codes$")
_PART = re.compile(r"^(mean|tail|signs|order\.\w+|gain\.\w+|lowrank\.\w+|stages\.\d+\.\w+)$")


def stored_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value that is stored: initializers, and outputs of Constant nodes; branches' too."""
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        if node.op_type == "Constant" and not node.domain:
            yield from node.outputs
        for attribute in node.attributes.values():
            if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.GRAPH:
                yield from attribute.as_graph().initializers.values()


def packed_values(graph: ir.Graph) -> set[ir.Value]:
    """The tensors of every packed table, those of an output head among them.

    By their names, which exporters give them, and by who reads them.
    """
    stored = {value.name: value for value in stored_values(graph) if value.name}
    tables = {match.group(1) for match in map(_CODES.match, stored) if match}
    found = {
        value
        for name, value in stored.items()
        for table in tables
        if name.startswith(table) and _PART.match(name[len(table) :])
    }
    for node in graph.all_nodes():
        if is_call(node, DECODE) or is_call(node, HEAD):
            found |= {value for value in node.inputs[1:] if value is not None}
    return found


def is_call(node: ir.Node, name: str) -> bool:
    """Whether it is a node of a packed table, ``name`` being :data:`DECODE` or :data:`HEAD`."""
    return node.domain == DOMAIN and node.op_type.startswith(name)


def look_ups(graph: ir.Graph) -> Iterator[ir.Node]:
    """Nodes that gather rows of a stored table, in whatever form that stands."""
    for node in graph.all_nodes():
        plain = node.op_type == "Gather" and not node.domain
        blocks = node.op_type == "GatherBlockQuantized" and node.domain == "com.microsoft"
        if (plain or blocks) and _is_table(node.inputs[0]):
            yield node


def around(gather: ir.Node) -> tuple[ir.Node, ...]:
    """The look-up, then what remakes the table before it, and what the rows after it."""
    nodes, value = [gather], gather.inputs[0]
    while value is not None and (above := value.producer()) is not None:
        nodes.append(above)
        value = above.inputs[0] if above.inputs else None
    below = gather.outputs[0].consumers()
    if len(below) == 1 and below[0].op_type in ("DequantizeLinear", "Cast"):
        nodes.append(below[0])
    return tuple(nodes)


def table_values(gather: ir.Node) -> set[ir.Value]:
    """The stored tensors of the table that is looked up: itself, scales, zero points."""
    found = set()
    for node in around(gather):
        indices = node.inputs[1] if node is gather else None
        read = [node.outputs[0]] if node.op_type == "Constant" else node.inputs
        found |= {v for v in read if v is not None and v is not indices and constant(v) is not None}
        if node.op_type == "Reshape":
            found -= {value for value in node.inputs[1:] if value is not None}
    return found


def indexed_by(gather: ir.Node) -> str | None:
    """The graph input whose values are the indices, unchanged; None where they are computed."""
    value = gather.inputs[1]
    while value is not None:
        node = value.producer()
        if node is None:
            return None if value.is_initializer() else value.name
        if node.op_type not in _KEEPS_IDS:
            return None
        value = node.inputs[0]
    return None


def find_ids(graph: ir.Graph) -> str | None:
    """``input_ids``, or the first input of integers that is no mask, type or position."""
    names = [value.name for value in graph.inputs if value.dtype in _INTEGERS]
    rest = [name for name in names if name not in NOT_IDS]
    return "input_ids" if "input_ids" in names else rest[0] if rest else None


def _is_table(value: ir.Value | None) -> bool:
    while value is not None and constant(value) is None:
        node = value.producer()
        if node is None or node.op_type not in _REMAKES:
            return False
        value = node.inputs[0]
    held = constant(value)
    whole = (*_INTEGERS, ir.DataType.BOOL)
    return held is not None and len(held.shape) > 1 and held.dtype not in whole
