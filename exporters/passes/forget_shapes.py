"""What a graph tells of values on the way, which onnxruntime infers anyway."""

from collections.abc import Iterable

import onnx_ir as ir

from toolkit.graph.contract import is_packed

from .base import Pass


class ForgetShapes(Pass):
    """Leave out the shapes that a graph tells of values on the way, which onnxruntime infers.

    It keeps them in memory all the same. Of LightToken's own nodes it cannot infer them. Without
    them it also leaves Add and LayerNormalization what they are, which on CPUs is the faster form.

    Element types stay: onnx infers none behind onnxruntime's own operators, and tools of others,
    such as quantize_dynamic, need them.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change ``model`` in place."""
        modified = False
        for value in _on_the_way(model.graph):
            modified = modified or value.shape is not None
            value.shape = None
        return ir.passes.PassResult(model, modified=modified)


def _on_the_way(graph: ir.Graph) -> Iterable[ir.Value]:
    for node in graph:
        if not is_packed(node):
            yield from (value for value in node.outputs if not value.is_graph_output())
