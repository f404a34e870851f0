"""Tables that stock operators read in place of ours: where rows are looked up in them."""

from collections.abc import Iterator

import onnx_ir as ir

from ..table.grouped import PACKED
from .forms import is_blocks, is_op


def stock_rows(graph: ir.Graph, rows: int) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Ids and rows [.., d] of each look-up in integers of ours, of a table of ``rows`` rows."""
    for node in graph.all_nodes():
        table, ids = (node.inputs[0], node.inputs[1]) if is_blocks(node) else (None, None)
        if table is None or ids is None or not (table.name or "").endswith(f".{PACKED}"):
            continue
        if table.shape is not None and table.shape[0] == rows:
            yield ids, _whole(node.outputs[0])


def _whole(value: ir.Value) -> ir.Value:
    """The rows that were looked up in blocks, once they are rows again."""
    users = [node for node, _ in value.uses()]
    joined = len(users) == 1 and is_op(users[0], "Reshape", "Slice")
    return _whole(users[0].outputs[0]) if joined else value
