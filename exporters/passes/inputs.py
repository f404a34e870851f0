"""A graph's inputs as a target wants them: fixed shapes, 32-bit integers."""

import onnx_ir as ir

from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN
from toolkit.graph.forms import is_op

_TAKES_INT32 = {"Cast": (0,), "Gather": (1,)}  # which inputs may be of either type


class FixShapes(ir.passes.InPlacePass):
    """Give every input of a graph ``batch`` texts of ``sequence`` tokens.

    onnxruntime computes what follows from that when it loads the model.
    """

    def __init__(self, batch: int, sequence: int) -> None:
        super().__init__()
        self.sizes = (batch, sequence)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place.

        Raises:
            InputError: an input is not [batch, sequence], or is fixed to another size already.
        """
        sizes: dict[str, int] = {}
        for value in model.graph.inputs:
            shape = value.shape
            if shape is None or len(shape) != len(self.sizes):
                raise InputError(
                    f"input {value.name} has shape {shape}; only inputs of [batch, sequence] can "
                    "be fixed: leave --batch and --sequence out"
                )
            for wanted, size in zip(self.sizes, shape, strict=True):
                if isinstance(size, int) and size != wanted:
                    raise InputError(
                        f"input {value.name} takes {list(shape)}, asked for {list(self.sizes)}; "
                        "use its own sizes"
                    )
                sizes |= {} if isinstance(size, int) else {str(size): wanted}
            value.shape = ir.Shape(self.sizes)
        for node in model.graph.all_nodes():
            for value in node.outputs:
                if value.shape is not None:
                    value.shape = ir.Shape(
                        [
                            size if isinstance(size, int) else sizes.get(str(size), str(size))
                            for size in value.shape
                        ]
                    )
        return ir.passes.PassResult(model, modified=True)


class Int32Inputs(ir.passes.InPlacePass):
    """Let inputs of int64 be int32: NPUs have no other integers.

    Look-ups and casts read them as they are, whatever else wants int64 gets a Cast. The packed
    layers have to be nodes still.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        graph = model.graph
        for value in graph.inputs:
            if value.dtype != ir.DataType.INT64:
                continue
            value.dtype = ir.DataType.INT32
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
        return ir.passes.PassResult(model, modified=True)


def _takes(node: ir.Node, index: int) -> bool:
    if node.domain == DOMAIN:
        return index == 0
    return is_op(node, *_TAKES_INT32) and index in _TAKES_INT32[node.op_type]
