"""Where ids come from: the integer graph input whose values reach a look-up unchanged."""

import onnx_ir as ir

from ..bundle.feeds import NOT_IDS

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
KEEPS_IDS = frozenset(  # operators that leave every id what it is, first input to output
    {
        *("Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"),
        *("Slice", "Expand", "Transpose"),
    }
)


def ids_input(ids: ir.Value | None) -> str | None:
    """The name of the graph input that ``ids`` are, unchanged; None where they are computed."""
    while ids is not None:
        node = ids.producer()
        if node is None:
            return ids.name if ids.is_graph_input() and ids.dtype in INTEGERS else None
        if node.op_type not in KEEPS_IDS:
            return None
        ids = node.inputs[0]
    return None


def find_ids_input(graph: ir.Graph) -> str | None:
    """``input_ids``, or the first input of integers that is no mask, type or position."""
    names = [value.name for value in graph.inputs if value.dtype in INTEGERS]
    rest = [name for name in names if name not in NOT_IDS]
    return "input_ids" if "input_ids" in names else rest[0] if rest else None
