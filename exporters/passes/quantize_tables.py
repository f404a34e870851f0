"""Tables that stay beside the packed one: positions, token types; held in bytes."""

import numpy as np
import onnx_ir as ir

from toolkit.graph.forms import is_op

from .edit import put_in_place, store

_LEAST = 4096  # numbers: below, two more nodes take as much as they save
_STEPS = 255


def quantize_tables(model: ir.Model, kept: frozenset[str]) -> None:
    """Hold float32 tables that rows are gathered from as uint8, each column from its least number
    to its largest; in place.

    Rows are scaled after they were gathered, by operators that every provider has, so that
    nothing unpacks the table as a whole.

    Args:
        model: its branches are searched too.
        kept: names of initializers to leave alone.
    """
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if name in kept or tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        if len(tensor.shape) != 2 or tensor.size < _LEAST or value.is_graph_output():
            continue
        readers = [node for node, index in value.uses() if index == 0 and _gathers_rows(node)]
        if not readers or len(readers) != len(tuple(value.uses())):
            continue
        table = tensor.numpy()
        least = table.min(axis=0)
        scale = (table.max(axis=0) - least) / np.float32(_STEPS)
        steps = (table - least) / np.where(scale == 0, np.float32(1), scale)
        parts = {"codes": np.rint(steps).astype(np.uint8), "scale": scale, "least": least}
        values = [store(model.graph, f"{name}.{part}", array) for part, array in parts.items()]
        for node in readers:
            _replace(node, *values)
        del model.graph.initializers[name]


def _gathers_rows(node: ir.Node) -> bool:
    return is_op(node, "Gather") and node.attributes.get_int("axis", 0) in (0, -2)


def _replace(gather: ir.Node, codes: ir.Value, scale: ir.Value, least: ir.Value) -> None:
    name = gather.name or gather.outputs[0].name
    rows = ir.node("Gather", [codes, gather.inputs[1]], name=f"{name}_codes")
    floats = ir.node(
        "Cast", [rows.outputs[0]], attributes={"to": int(ir.DataType.FLOAT)}, name=f"{name}_float"
    )
    scaled = ir.node("Mul", [floats.outputs[0], scale], name=f"{name}_scaled")
    moved = ir.node("Add", [scaled.outputs[0], least], name=f"{name}_moved")
    nodes = [rows, floats, scaled, moved]
    for node in nodes:
        node.outputs[0].dtype = ir.DataType.UINT8 if node is rows else ir.DataType.FLOAT
        node.outputs[0].name = f"{node.name}_output"
    put_in_place(gather.outputs[0], nodes)
