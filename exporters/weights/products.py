"""Which products of a graph multiply by weights of their own."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.graph.forms import is_op, is_plain_gemm


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm of activations [.., k] by a stored matrix.

    Attributes:
        node: gives [.., n].
        weight: the initializer, [k, n], or [n, k] where ``by_rows``.
        bias: of a Gemm, or None.
    """

    node: ir.Node
    weight: ir.Value
    by_rows: bool
    bias: ir.Value | None = None

    @property
    def inputs(self) -> ir.Value:
        """The activations."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def shape(self) -> tuple[int, int]:
        """n, k."""
        assert self.weight.const_value is not None
        rows, columns = (int(size) for size in self.weight.const_value.shape.numpy())
        return (rows, columns) if self.by_rows else (columns, rows)

    def matrix(self) -> NDArray[np.float32]:
        """The weight, float32 [n, k], contiguous."""
        assert self.weight.const_value is not None
        values = self.weight.const_value.numpy()
        return np.ascontiguousarray(values if self.by_rows else values.T)


def find_products(model: ir.Model, kept: frozenset[str] = frozenset()) -> list[Product]:
    """Every product with a float32 matrix that nothing else reads, in the graph's order.

    Args:
        model: its branches are searched too.
        kept: names of initializers to leave alone.
    """
    products = []
    for node in model.graph.all_nodes():
        if not is_op(node, "MatMul", "Gemm"):
            continue
        weight = node.inputs[1]
        if weight is None or weight.name in kept or not _is_matrix(weight):
            continue
        if node.op_type == "MatMul":
            products.append(Product(node, weight, by_rows=False))
        elif is_plain_gemm(node):
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            by_rows = bool(node.attributes.get_int("transB", 0))
            products.append(Product(node, weight, by_rows, bias))
    readers = {product.node for product in products}
    return [p for p in products if {node for node, _ in p.weight.uses()} <= readers]


def _is_matrix(value: ir.Value) -> bool:
    tensor = value.const_value
    return (
        value.is_initializer()
        and tensor is not None
        and tensor.dtype == ir.DataType.FLOAT
        and len(tensor.shape) == 2
    )
