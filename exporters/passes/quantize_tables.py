"""Tables that stay beside the packed one: positions, token types; held in bytes."""

import numpy as np
import onnx_ir as ir

from toolkit.graph.gathers import is_row_gather
from toolkit.graph.store import store

from .base import Pass, put_in_place

_LEAST = 4096  # numbers: below, two more nodes take as much as they save
_STEPS = 255


class QuantizeTables(Pass):
    """Hold float32 tables that rows are gathered from as uint8, each column from its least number
    to its largest.

    Rows are scaled after they were gathered, by operators that every provider has, so that nothing
    unpacks the table as a whole.

    Args:
        kept: names of initializers to leave alone.
    """

    def __init__(self, kept: frozenset[str]) -> None:
        super().__init__()
        self.kept = kept

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place; its branches are searched too."""
        modified = False
        for name, value in list(model.graph.initializers.items()):
            tensor = value.const_value
            if name in self.kept or tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            if len(tensor.shape) != 2 or tensor.size < _LEAST or value.is_graph_output():
                continue
            readers = [node for node, index in value.uses() if index == 0 and is_row_gather(node)]
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
            modified = True
        return ir.passes.PassResult(model, modified=modified)


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
