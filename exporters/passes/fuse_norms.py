"""RMS norms in the form that onnxruntime makes one node of at load."""

import onnx_ir as ir

from toolkit.graph.forms import is_op

from .base import JoiningPass, put_in_place


class DivideNorms(JoiningPass):
    """Write a product with a root's reciprocal as a quotient by the root.

    torch's exporter writes an RMS norm (Zhang and Sennrich, NeurIPS 2019) as ``x * (1 / sqrt(m))``.
    onnxruntime joins ``x / sqrt(m) * weight`` alone, into SimplifiedLayerNormalization: a node in
    place of seven. The file keeps standard operators, and gains by it wherever it runs. Values
    agree but for their last place.
    """

    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place."""
        found = [
            (node, quotient)
            for node in model.graph.all_nodes()
            if is_op(node, "Mul") and (quotient := _quotient(node)) is not None
        ]
        for node, (value, root) in found:
            new = ir.node("Div", [value, root], name=f"{node.name}_quotient")
            output, before = new.outputs[0], node.outputs[0]
            output.type, output.shape = before.type, before.shape
            put_in_place(before, [new])
        return len(found)


def _quotient(product: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """What a Mul multiplies with the reciprocal of a root, and that root."""
    for at in (1, 0):
        reciprocal, value = product.inputs[at], product.inputs[1 - at]
        maker = None if reciprocal is None else reciprocal.producer()
        if maker is None or value is None or not is_op(maker, "Reciprocal"):
            continue
        root = maker.inputs[0]
        if root is not None and (above := root.producer()) is not None and is_op(above, "Sqrt"):
            return value, root
    return None
