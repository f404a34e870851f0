"""What the rules of :mod:`.plain` ask of values, and the nodes that several of them make."""

import onnx_ir as ir

from .forms import constant, is_op, shape_of, type_of
from .gathers import is_row_gather
from .ids import INTEGERS
from .store import store_numbers


def is_matrix(value: ir.Value | None) -> bool:
    """Whether it is stored, has two dimensions, and holds numbers that are no ids."""
    return len(shape_of(value)) == 2 and type_of(value) not in (*INTEGERS, ir.DataType.BOOL)


def is_looked_up(value: ir.Value | None) -> bool:
    """Whether rows are gathered of this matrix too, by something that is no constant."""
    return is_matrix(value) and any(
        index == 0 and is_row_gather(node) and constant(node.inputs[1]) is None
        for node, index in (() if value is None else value.uses())
    )


def ends_in_one(ids: ir.Value | None) -> bool:
    """Whether the last size is 1: stated, or made so by an Unsqueeze or a Reshape."""
    if ids is None or constant(ids) is not None:
        return False
    if ids.shape is not None and len(ids.shape):
        return ids.shape[-1] == 1
    node = ids.producer()
    if node is None or not is_op(node, "Unsqueeze", "Reshape"):
        return False
    numbers = constant(node.inputs[1])
    if numbers is None:
        return False
    last = numbers.numpy().reshape(-1).tolist()
    return last == [-1] if is_op(node, "Unsqueeze") else len(last) > 0 and last[-1] == 1


def squeezed(graph: ir.Graph, ids: ir.Value | None) -> ir.Node:
    """Ids [.., 1] without that last dimension."""
    node = ir.node("Squeeze", [ids, store_numbers(graph, -1)])
    output = node.outputs[0]
    output.type = None if ids is None else ids.type
    if ids is not None and ids.shape is not None:
        output.shape = ir.Shape(list(ids.shape)[:-1])
    return node


def turned(matrix: ir.Value | None) -> ir.Node:
    """A Transpose of a stored matrix, of a stated type."""
    node = ir.node("Transpose", [matrix], {"perm": [1, 0]})
    node.outputs[0].type = ir.TensorType(type_of(matrix) or ir.DataType.FLOAT)
    return node
