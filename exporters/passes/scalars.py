"""Numbers that a graph computes although they are fixed: scales and sizes in traced models.

Older tracers write the scale of an attention as 1 / sqrt of a size that they look up at run time.
Constant folding does not see it, as that size stands in a shape whose other sizes are free.
"""

import math

import numpy as np
import onnx_ir as ir

from toolkit.graph.forms import constant, is_op

_SAME = ("Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape")
_MOST = 24  # nodes that are followed; a scale takes about eight


def number(value: ir.Value | None, depth: int = _MOST) -> float | None:
    """The one number that ``value`` always holds; None where it holds several or others."""
    tensor = constant(value)
    if tensor is not None:
        return (
            float(np.asarray(tensor.numpy(), np.float64).reshape(())) if tensor.size == 1 else None
        )
    node = None if value is None else value.producer()
    if node is None or not depth:
        return None
    if is_op(node, *_SAME):
        return number(node.inputs[0], depth - 1)
    if is_op(node, "Gather", "Slice"):
        return _one_size(node)
    if is_op(node, "Sqrt"):
        inner = number(node.inputs[0], depth - 1)
        return None if inner is None or inner < 0 else math.sqrt(inner)
    if is_op(node, "Mul", "Div"):
        left, right = (number(each, depth - 1) for each in node.inputs)
        if left is None or right is None or (node.op_type == "Div" and not right):
            return None
        return left * right if node.op_type == "Mul" else left / right
    return None


def rank_of(value: ir.Value | None) -> int | None:
    """How many dimensions ``value`` has; followed up through what keeps or states them."""
    if value is None:
        return None
    if value.shape is not None:
        return len(value.shape)
    node = value.producer()
    if node is not None and is_op(node, "Transpose"):
        return len(node.attributes.get_ints("perm", ())) or rank_of(node.inputs[0])
    return None


def width_of(value: ir.Value | None) -> int | None:
    """The last size of a value, told by its shape or by the weights that it is made with."""
    if value is None:
        return None
    if value.shape is not None and len(value.shape) and isinstance(size := value.shape[-1], int):
        return size
    node = value.producer()
    if node is None or not is_op(node, "Add", "MatMul", "Gemm"):
        return None
    for each in node.inputs[::-1]:
        tensor = constant(_named(each))
        if tensor is not None and tensor.size > 1:
            turned = is_op(node, "Gemm") and bool(node.attributes.get_int("transB", 0))
            return int(tensor.shape.numpy()[0 if turned and len(tensor.shape) == 2 else -1])
    return None


def _named(value: ir.Value | None) -> ir.Value | None:
    """What an Identity gives another name to: tracers share equal biases so."""
    node = None if value is None else value.producer()
    return node.inputs[0] if node is not None and is_op(node, "Identity") else value


def _one_size(pick: ir.Node) -> float | None:
    """The size that a Gather or Slice of one entry takes out of a Shape."""
    shape = pick.inputs[0].producer() if pick.inputs[0] is not None else None
    if shape is None or not is_op(shape, "Shape") or shape.inputs[0] is None:
        return None
    at = number(pick.inputs[1])
    if at is None:
        return None
    return _size(shape.inputs[0], int(at))


def _size(value: ir.Value, axis: int) -> float | None:
    """A size of ``value``, where its shape, a Transpose or a Reshape above it tells."""
    if value.shape is not None and isinstance(size := value.shape[axis], int):
        return size
    node = value.producer()
    if node is None:
        return None
    if is_op(node, "Transpose") and node.inputs[0] is not None:
        perm = node.attributes.get_ints("perm", ())
        return _size(node.inputs[0], perm[axis]) if perm else None
    if is_op(node, "Reshape"):
        asked = node.inputs[1]
        tensor, maker = constant(asked), None if asked is None else asked.producer()
        if tensor is not None:
            size = int(tensor.numpy()[axis])
            return size if size > 0 else None
        if maker is not None and is_op(maker, "Concat"):
            # From the end: what tracers join in one part are the leading sizes.
            count = len(maker.inputs)
            from_end = axis if axis < 0 else axis - count
            told = number(maker.inputs[from_end]) if -count <= from_end < 0 else None
            return told if told is not None and told > 0 else None
    return None
