"""Inputs of 32-bit integers, for NPUs."""

import onnx_ir as ir

from toolkit.graph.contract import is_packed
from toolkit.graph.forms import is_op

from .base import Pass

_TAKES_INT32 = {"Cast": (0,), "Gather": (1,)}  # which inputs may be of either type


class Int32Inputs(Pass):
    """Let inputs of int64 be int32: NPUs have no other integers.

    Look-ups and casts read them as they are, whatever else wants int64 gets a Cast. The packed
    layers have to be nodes still.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        graph = model.graph
        modified = False
        for value in graph.inputs:
            if value.dtype != ir.DataType.INT64:
                continue
            value.dtype = ir.DataType.INT32
            modified = True
            others = [(node, index) for node, index in value.uses() if not _takes(node, index)]
            if not others:
                continue
            cast = ir.node(
                "Cast",
                [value],
                attributes={"to": int(ir.DataType.INT64)},
                name=f"{value.name}_int64",
            )
            cast.outputs[0].name = f"{value.name}_as_int64"
            cast.outputs[0].dtype = ir.DataType.INT64
            graph.insert_before(graph[0], cast)
            for node, index in others:
                node.replace_input_with(index, cast.outputs[0])
        return ir.passes.PassResult(model, modified=modified)


def _takes(node: ir.Node, index: int) -> bool:
    if is_packed(node):
        return index == 0
    return is_op(node, *_TAKES_INT32) and index in _TAKES_INT32[node.op_type]
