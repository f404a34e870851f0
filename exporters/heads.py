"""Which products with a table are output heads: hidden states by every row of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .find import TableUse


@dataclass(frozen=True)
class Head:
    """A node that multiplies hidden states [.., d] by the table's rows, to logits [.., V].

    Attributes:
        node: a MatMul, or a Gemm.
        weight: the value that it reads the rows from: the table [V, d], its Transpose [d, V], or
            an initializer of its own with the same numbers.
        bias: of a Gemm [V], or None.
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


def find_heads(graph: ir.Graph, table: TableUse) -> list[Head]:
    """Every output head that shares the table, or holds a copy of it."""
    heads = list(_readers(table.value, transposed=False))
    for node in table.others:
        if node.op_type == "Transpose" and _swaps(node):
            heads += _readers(node.outputs[0], transposed=True)
    for twin in _twins(graph, table):
        heads += _readers(twin, transposed=True)
    return heads


def serves_heads_alone(table: TableUse, heads: list[Head]) -> bool:
    """Whether nobody else reads the table but by ids: it can go."""
    served = {head.node for head in heads}
    weights = {head.weight for head in heads}
    for node in table.others:
        reads = {user for value in node.outputs for user, _ in value.uses()}
        passes = node.outputs[0] in weights and reads <= served
        if node not in served and not passes:
            return False
    return True


def _readers(weight: ir.Value, *, transposed: bool) -> Iterator[Head]:
    for node, index in weight.uses():
        if index != 1 or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "MatMul" and transposed:
            yield Head(node, weight)
        if node.op_type == "Gemm" and _plain(node) and _flag(node, "transB") != transposed:
            yield Head(node, weight, node.inputs[2] if len(node.inputs) > 2 else None)


def _twins(graph: ir.Graph, table: TableUse) -> Iterator[ir.Value]:
    """Initializers [d, V] with the table's numbers: exporters fold its transpose."""
    own = table.value.const_value
    assert own is not None
    for value in graph.initializers.values():
        other = value.const_value
        if other is None or other.dtype != own.dtype:
            continue
        if tuple(other.shape.numpy()) != (table.width, table.rows) or value is table.value:
            continue
        if np.array_equal(other.numpy().T, own.numpy()):
            yield value


def _swaps(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is None or list(perm.as_ints()) == [1, 0]


def _plain(node: ir.Node) -> bool:
    """A Gemm that is a product and a sum, of inputs as they are but for B."""
    factors = [node.attributes.get(name) for name in ("alpha", "beta")]
    return not _flag(node, "transA") and all(f is None or f.as_float() == 1.0 for f in factors)


def _flag(node: ir.Node, name: str) -> bool:
    attribute = node.attributes.get(name)
    return attribute is not None and bool(attribute.as_int())
