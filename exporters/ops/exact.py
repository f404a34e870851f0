"""Rows that are kept beside the packed ones, in the graph's own operators.

They stand outside the packed layer, so that every form of it, the kernel's too, has them.
"""

from collections.abc import Callable

import onnx_ir as ir


def put_exact(
    ids: ir.Value,
    decoded: ir.Value,
    exact_ids: ir.Value,
    exact: ir.Value,
    name: str,
    axes: Callable[[int], ir.Value],
) -> list[ir.Node]:
    """Nodes that give ``decoded`` [.., d], or where an id is an exact one its row.

    Args:
        ids: integers [..].
        decoded: of a float type.
        exact_ids: float32 [n].
        exact: float32 [n, d].
        name: what the nodes are called.
        axes: makes a stored int64 [1] of a number.
    """
    nodes: list[ir.Node] = []

    def op(kind: str, *inputs: ir.Value, dtype: ir.DataType, **settings: int) -> ir.Value:
        nodes.append(ir.node(kind, list(inputs), settings, name=f"{name}_exact_{len(nodes)}"))
        output = nodes[-1].outputs[0]
        output.name, output.dtype = nodes[-1].name, dtype
        return output

    assert decoded.dtype is not None
    number = op("Cast", ids, dtype=ir.DataType.FLOAT, to=int(ir.DataType.FLOAT))
    column = op("Unsqueeze", number, axes(-1), dtype=ir.DataType.FLOAT)
    same = op("Equal", column, exact_ids, dtype=ir.DataType.BOOL)
    hot = op("Cast", same, dtype=ir.DataType.FLOAT, to=int(ir.DataType.FLOAT))
    rows = op("MatMul", hot, exact, dtype=ir.DataType.FLOAT)  # of one 1 and zeros: the row itself
    if decoded.dtype != ir.DataType.FLOAT:
        rows = op("Cast", rows, dtype=decoded.dtype, to=int(decoded.dtype))
    count = op("ReduceSum", hot, axes(-1), dtype=ir.DataType.FLOAT, keepdims=1)
    known = op("Cast", count, dtype=ir.DataType.BOOL, to=int(ir.DataType.BOOL))
    op("Where", known, rows, decoded, dtype=decoded.dtype)
    return nodes
