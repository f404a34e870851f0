"""Products that make logits, hidden states by every row of a matrix, and where a graph has them."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .contract import is_head
from .forms import constant, is_op, type_of

LOGITS = "logits"  # what exporters call the output of a head over a vocabulary
BLOCKS = "MatMulNBits"
# What stands behind a head: a bias, a scale, a soft cap, a mask, another type.
_ELEMENTWISE = ("Cast", "Identity", "Mul", "Div", "Tanh", "Add", "Where")
_ROUNDED = ("QuantizeLinear", "DequantizeLinear")
_PRODUCTS = ("MatMul", BLOCKS)


@dataclass(frozen=True)
class Head:
    """A node that multiplies hidden states [.., d] by a matrix's rows, to logits [.., V].

    Attributes:
        node: a MatMul, a Gemm, or onnxruntime's MatMulNBits.
        weight: the value that it reads the rows from: the matrix [V, d] or transposed [d, V], a
            stored one or what the graph makes of it, or blocks of integers.
        bias: of a Gemm or MatMulNBits [V], or None.
    """

    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None = None

    @property
    def hidden(self) -> ir.Value:
        """The hidden states."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def dtype(self) -> ir.DataType:
        """The type of hidden states and logits."""
        blocks = self.node.op_type == BLOCKS
        dtype = type_of(self.node.inputs[2] if blocks else self.weight)
        assert dtype is not None
        return dtype


def logits_makers(graph: ir.Graph, *, reshaped: bool = True) -> Iterator[ir.Node]:
    """The nodes that the output ``logits`` begins with, behind which all is elementwise.

    As a rule one, a product with a matrix; of a graph with branches one in each. Where the logits
    are made in another way, the node where that begins. ``reshaped``: follow a Reshape too, which
    stands behind a product of matrices alone.
    """
    value = next((value for value in graph.outputs if value.name == LOGITS), None)
    return iter(()) if value is None else _makers(value, reshaped)


def is_product(node: ir.Node) -> bool:
    """Whether it multiplies states of any dimensions by a matrix, packed or not."""
    return is_head(node) or node.op_type in _PRODUCTS


def _makers(value: ir.Value | None, reshaped: bool) -> Iterator[ir.Node]:
    node = None if value is None else value.producer()
    if value is None or node is None:
        return
    if is_op(node, *_ELEMENTWISE, *_ROUNDED):
        made = [each for each in node.inputs if each is not None and constant(each) is None]
        if len(made) == 1:
            yield from _makers(made[0], reshaped)
    elif is_op(node, "Reshape") and reshaped:
        yield from _makers(node.inputs[0], reshaped)
    elif is_op(node, "If"):
        index = list(node.outputs).index(value)
        for branch in node.attributes.values():
            yield from _makers(branch.as_graph().outputs[index], reshaped)
    else:
        yield node
