"""Which products with a table are output heads: hidden states by every row of it."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..table.matrix import row_blocks
from .forms import (
    FLOATS,
    MICROSOFT,
    constant,
    dequantizes,
    is_blocks,
    is_op,
    is_plain_gemm,
    remakes,
    shape_of,
    stored,
    turns,
    type_of,
)
from .products import BLOCKS, Head
from .tables import TableUse


def find_heads(graph: ir.Graph, table: TableUse) -> list[Head]:
    """Every output head that shares the table, or holds a copy of it with the same values."""
    heads: list[Head] = []
    for whole in table.floats:
        heads += _readers(whole, transposed=False)
    for turned in _turned(table):
        heads += _readers(turned, transposed=True)
    for node in table.others:
        if _is_of_blocks(node, table):
            heads.append(Head(node, table.value, _input(node, 5)))
    for twin, transposed in _twins(graph, table):
        heads += _readers(twin, transposed=transposed)
    return heads


def serves_heads_alone(table: TableUse, heads: list[Head]) -> bool:
    """Whether nobody else reads the table but by ids: it can go."""
    served = {head.node for head in heads}

    def serves(node: ir.Node) -> bool:
        passes = is_op(node, "Transpose", "QuantizeLinear") or remakes(node)
        users = {user for user, _ in node.outputs[0].uses()}
        asked = node.outputs[0].is_graph_output() or not users
        return node in served or (passes and not asked and all(serves(user) for user in users))

    if any(value.is_graph_output() for value in (table.value, *table.floats)):
        return False
    return all(serves(node) for node in table.others)


def _readers(weight: ir.Value, *, transposed: bool) -> Iterator[Head]:
    for node, index in weight.uses():
        if index != 1:
            continue
        if is_op(node, "MatMul") and transposed:
            yield Head(node, weight)
        if is_plain_gemm(node) and _flag(node, "transB") != transposed:
            yield Head(node, weight, _input(node, 2))


def _turned(table: TableUse) -> Iterator[ir.Value]:
    """Values that hold the table transposed [d, V], as floats of the same numbers.

    Quantisers turn the integers and dequantise after, or turn what was dequantised, quantise it by
    the same scale, and dequantise again.
    """
    own = [table.value]
    whole = list(dict.fromkeys((*([] if table.turned else own), *table.floats)))
    makers = [node for value in whole for node, _ in value.uses()]
    held = (own if table.turned else []) + [node.outputs[0] for node in makers if turns(node)]
    scaled = [node for node in table.readers if dequantizes(node)]
    for value in held:  # grows
        if type_of(value) in FLOATS:
            yield value
        for node, index in value.uses():
            scales = dequantizes(node) or is_op(node, "QuantizeLinear")
            alike = scales and bool(scaled) and _scales_alike(node, scaled[0])
            if index == 0 and (alike or is_op(node, "Cast", "Identity")):
                held.append(node.outputs[0])


def _scales_alike(one: ir.Node, other: ir.Node) -> bool:
    """Whether both have the one scale and zero point, for the whole of a matrix."""
    pairs = [(_input(one, index), _input(other, index)) for index in (1, 2)]
    single = all(shape_of(value) in ((), (1,)) for pair in pairs for value in pair)
    return single and all(_same(*pair) for pair in pairs)


def _is_of_blocks(node: ir.Node, table: TableUse) -> bool:
    """Whether a MatMulNBits reads the blocks that a GatherBlockQuantized looks up, scaled alike."""
    gather = table.lookups[0].gather
    if node.op_type != BLOCKS or node.domain != MICROSOFT or not is_blocks(gather):
        return False
    if node.inputs[1] is not table.value or _input(node, 4) is not None:  # columns in another order
        return False
    shape = node.attributes.get_int("N", 0), node.attributes.get_int("K", 0)
    sizes = [
        (each.attributes.get_int("bits", 4), each.attributes.get_int("block_size", 128))
        for each in (node, gather)
    ]
    return (
        shape == (table.rows, table.width)
        and sizes[0] == sizes[1]
        and _same(node.inputs[2], gather.inputs[2])
        and _same(_input(node, 3), _input(gather, 3))
    )


def _same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both stand for the same numbers in the same order, or are both not there."""
    left, right = (constant(stored(value)) for value in (one, other))
    if left is None or right is None:
        return left is right
    return left is right or np.array_equal(left.numpy().ravel(), right.numpy().ravel())


def _twins(graph: ir.Graph, table: TableUse) -> Iterator[tuple[ir.Value, bool]]:
    """Values with the table's numbers beside it, and whether they stand as [d, V].

    Exporters fold its transpose, and a model may hold equal matrices that it does not call one.
    """
    own = constant(table.value)
    assert own is not None
    if own.dtype not in FLOATS or table.turned:
        return
    for value in graph.initializers.values():
        other = value.const_value
        if other is None or other.dtype != own.dtype or value is table.value:
            continue
        if shape_of(value) == (table.width, table.rows) and _equal(other.numpy().T, own.numpy()):
            yield value, True
        if shape_of(value) == (table.rows, table.width) and _equal(other.numpy(), own.numpy()):
            yield value, False
            for node, _ in value.uses():
                if turns(node):
                    yield node.outputs[0], True


def _equal(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Whether all numbers are the same; of most matrices the first rows tell that they are not."""
    return all(np.array_equal(one[rows], other[rows]) for rows in row_blocks(len(one)))


def _flag(node: ir.Node, name: str) -> bool:
    return bool(node.attributes.get_int(name, 0))


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None
