"""Output heads that are matrices of their own, which no ids look up: found by what they compute."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .contract import is_lookup
from .forms import FLOATS, constant, dequantizes, is_op, is_plain_gemm, shape_of, turns, type_of
from .heads import find_heads
from .products import Head, logits_makers
from .rows import stored_matrix
from .tables import MIN_ROWS, TAKES_ROWS, find_tables


@dataclass(frozen=True, eq=False)
class OwnHead:
    """A matrix that hidden states are multiplied by, to logits, and that nothing else reads.

    Attributes:
        graph: the model's.
        value: the stored matrix, [V, d] or [d, V]: an initializer, or the output of a Constant.
        heads: the products; one, or one in each branch of a graph.
        rows: V.
        width: d.
        turned: the value that products read holds the matrix as [d, V].
    """

    graph: ir.Graph
    value: ir.Value
    heads: tuple[Head, ...]
    rows: int
    width: int
    turned: bool

    @property
    def name(self) -> str:
        """What the graph calls the stored matrix."""
        return self.value.name or ""

    @property
    def tensors(self) -> set[ir.Value]:
        """The matrix as stored, and what it is scaled by."""
        nodes = _above(self.heads[0].weight)
        held = {value for node in nodes for value in node.inputs if value is not None}
        return {value for value in held | {self.value} if constant(value) is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of :attr:`tensors`."""
        held = [constant(value) for value in self.tensors]
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    @property
    def form(self) -> str:
        """How it is stored, for people: ``float16``, ``uint8, DequantizeLinear``."""
        tensor = constant(self.value)
        assert tensor is not None
        through = [n.op_type for n in _above(self.heads[0].weight) if not turns(n)]
        return ", ".join([tensor.dtype.name.lower(), *reversed(through)])


def find_own_heads(graph: ir.Graph, *, compare: bool = True) -> list[OwnHead]:
    """Every head of the output ``logits`` with a matrix of its own, one entry for each matrix.

    A head has as many rows as a table has that ids look up, packed or not: tokens that come in can
    go out. Labels of a classifier are as a rule fewer, and are none. Where nothing is looked up
    because the graph takes rows, ``inputs_embeds``, any number of them will do.

    Not found are heads that share a table or hold the same values, and matrices that anything else
    reads: they have to stay. Without ``compare`` no values are read, and a matrix with a table's
    values counts as another.
    """
    tables = find_tables(graph)
    every = [find_heads(graph, table) for table in tables] if compare else []
    shared = {head.node for heads in every for head in heads}
    looked_up = {table.value for table in tables}
    sizes = {table.rows for table in tables}
    sizes |= {n.attributes.get_int("rows", 0) for n in graph.all_nodes() if is_lookup(n)}
    any_size = not sizes and any(value.name == TAKES_ROWS for value in graph.inputs)
    found: dict[ir.Value, list[Head]] = {}
    for node in logits_makers(graph):
        head = _head(node)
        matrix = None if head is None or node in shared else _stored(head.weight)
        if head is not None and matrix is not None and matrix not in looked_up:
            found.setdefault(matrix, []).append(head)
    own = [_own(graph, value, heads) for value, heads in found.items()]
    return [
        each
        for each in own
        if each is not None and (any_size or each.rows in sizes) and each.rows >= MIN_ROWS
    ]


def head_values(own: OwnHead) -> NDArray[np.floating]:
    """The matrix as an array [V, d]; float32 where the file holds it in another way than in floats.

    As :func:`.rows.table_values`, those are the values that the graph's own operators make.
    """
    values = stored_matrix(own.graph, own.heads[0].weight)
    return np.ascontiguousarray(values.T) if own.turned else values


def _own(graph: ir.Graph, value: ir.Value, heads: list[Head]) -> OwnHead | None:
    """None where its readers differ in what they make of it, or one of them is no head."""
    turned = _is_turned(heads[0])
    alike = all(_is_turned(head) == turned and _same_way(head, heads[0]) for head in heads)
    if not alike or not _reads_alone(value, {head.node for head in heads}):
        return None
    shape = shape_of(value)
    if sum(turns(node) for node in _above(heads[0].weight)) % 2:
        shape = shape[::-1]
    width, rows = shape if turned else shape[::-1]
    return OwnHead(graph, value, tuple(heads), rows, width, turned)


def _head(node: ir.Node) -> Head | None:
    """The product as a head, None where it is none with a second factor that might be stored."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or type_of(weight) not in FLOATS:
        return None
    if is_op(node, "MatMul"):
        return Head(node, weight)
    if is_plain_gemm(node):
        return Head(node, weight, node.inputs[2] if len(node.inputs) > 2 else None)
    return None


def _is_turned(head: Head) -> bool:
    """Whether the weight stands as [d, V]: a Gemm may turn it itself."""
    return not (is_op(head.node, "Gemm") and bool(head.node.attributes.get_int("transB", 0)))


def _above(weight: ir.Value | None) -> list[ir.Node]:
    """The nodes between a stored matrix and ``weight``, from ``weight`` up."""
    found: list[ir.Node] = []
    while weight is not None and constant(weight) is None:
        node = weight.producer()
        if node is None or not _keeps_matrix(node):
            break
        found.append(node)
        weight = node.inputs[0]
    return found


def _keeps_matrix(node: ir.Node) -> bool:
    """Whether it gives the same matrix in another type, or turned."""
    fixed = all(value is None or constant(value) is not None for value in node.inputs[1:])
    return is_op(node, "Cast", "Identity") or turns(node) or (dequantizes(node) and fixed)


def _stored(weight: ir.Value) -> ir.Value | None:
    """The stored matrix that ``weight`` is, None where there is more to it."""
    *_, value = (weight, *(node.inputs[0] for node in _above(weight)))
    return value if value is not None and len(shape_of(value)) == 2 else None


def _same_way(one: Head, other: Head) -> bool:
    """Whether both make the same floats of what is stored."""
    ways = [
        [(node.op_type, node.inputs[1:], str(node.attributes)) for node in _above(head.weight)]
        for head in (one, other)
    ]
    return ways[0] == ways[1]


def _reads_alone(value: ir.Value, heads: set[ir.Node]) -> bool:
    """Whether the products are all that reads the matrix or what is made of it."""
    if value.is_graph_output():
        return False
    return all(
        (node in heads and index == 1)
        or (index == 0 and _keeps_matrix(node) and _reads_alone(node.outputs[0], heads))
        for node, index in value.uses()
    )
