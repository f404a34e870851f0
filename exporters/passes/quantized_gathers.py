"""Look-ups of bytes in the form that NPUs take: between quantised and real numbers."""

import numpy as np
import onnx_ir as ir

from toolkit.graph.forms import is_op
from toolkit.graph.store import store

from .base import Pass, put_in_place

_ONE, _ZERO = "lighttoken.bytes.scale", "lighttoken.bytes.zero_point"


class QuantizedGathers(Pass):
    """Put each Gather of stored uint8 between a DequantizeLinear and a QuantizeLinear of scale 1.

    The values stay what they are. A provider that compiles quantised graphs takes the three nodes
    as one quantised Gather, where a bare one of bytes would cut the graph; onnxruntime's CPU
    provider takes both away again and gathers bytes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        graph = model.graph
        gathers = [node for node in graph if _reads_bytes(node)]
        if not gathers:
            return ir.passes.PassResult(model, modified=False)
        one, zero = store(graph, _ONE, np.float32(1)), store(graph, _ZERO, np.uint8(0))
        for gather in gathers:
            stored, ids = gather.inputs
            real = ir.node("DequantizeLinear", [stored, one, zero], name=f"{gather.name}_real")
            rows = ir.node("Gather", [real.outputs[0], ids], {"axis": 0}, name=gather.name)
            again = ir.node("QuantizeLinear", [rows.outputs[0], one, zero], name=f"{gather.name}_q")
            for node, name in ((real, "real"), (rows, "rows"), (again, "bytes")):
                node.outputs[0].name = f"{gather.outputs[0].name}_{name}"
            put_in_place(gather.outputs[0], [real, rows, again])
        return ir.passes.PassResult(model, modified=True)


def _reads_bytes(node: ir.Node) -> bool:
    table = node.inputs[0] if is_op(node, "Gather") else None
    return (
        table is not None
        and table.is_initializer()
        and table.dtype == ir.DataType.UINT8
        and node.attributes.get_int("axis", 0) == 0
    )
