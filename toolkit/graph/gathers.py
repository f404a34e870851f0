"""Nodes that gather rows of a stored table, in whatever form it stands, by whatever indices.

:mod:`.tables` builds on this: the tables whose indices are the ids of a graph input.
"""

from collections.abc import Iterator

import onnx_ir as ir

from .forms import constant, dequantizes, is_blocks, is_op
from .ids import INTEGERS

_SHAPED = ("Reshape", "Unsqueeze")  # by their second input
_KEEP_BYTES = ("Cast", "Transpose", "Identity", *_SHAPED)


def is_row_gather(node: ir.Node) -> bool:
    """Whether it is a Gather along the first axis, or onnxruntime's of blocks of integers."""
    if is_blocks(node):
        return node.attributes.get_int("gather_axis", 0) in (0, -2)
    return is_op(node, "Gather") and node.attributes.get_int("axis", 0) in (0, -2)


def row_gathers(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every node that gathers rows of a stored matrix of numbers; branches are searched too."""
    for node in graph.all_nodes():
        if not is_row_gather(node):
            continue
        *_, last = (node, *_above(node.inputs[0]))
        table = constant(last.inputs[0])
        whole = (*INTEGERS, ir.DataType.BOOL)  # shapes and masks, not tables
        if table is not None and len(table.shape) > 1 and table.dtype not in whole:
            yield node


def nodes_around(gather: ir.Node) -> tuple[ir.Node, ...]:
    """The gather, then what makes floats of the table or of its scales before it, and of the rows
    after it."""
    below = [use.node for use in gather.outputs[0].uses()]
    after = below if len(below) == 1 and _makes_floats(below[0]) else []
    scales = [node for value in gather.inputs[2:] for node in _above(value)]
    return (gather, *_above(gather.inputs[0]), *scales, *after)


def table_tensors(gather: ir.Node) -> set[ir.Value]:
    """The stored tensors of the table that is gathered from: itself, scales, zero points."""
    found = set()
    for node in nodes_around(gather):
        read = node.inputs[:1] if is_op(node, *_SHAPED) else node.inputs
        found |= {value for value in read if value is not None and constant(value) is not None}
    found.discard(gather.inputs[1])  # constant indices are no table
    return found


def _above(value: ir.Value | None) -> Iterator[ir.Node]:
    """The nodes between a stored table and ``value``, from ``value`` up.

    Unlike :func:`.forms.above`, through any Reshape or Transpose: rows may become others, bytes
    stay the table's.
    """
    while value is not None and constant(value) is None:
        node = value.producer()
        if node is None or not (dequantizes(node) or is_op(node, *_KEEP_BYTES)):
            return
        yield node
        value = node.inputs[0]


def _makes_floats(node: ir.Node) -> bool:
    return dequantizes(node) or is_op(node, "Cast")
