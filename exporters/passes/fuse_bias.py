"""A bias after a 4-bit product becomes part of the product."""

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit.graph.forms import constant, is_op

from .base import Pass, put_in_place

_BIAS = 5  # its place among MatMulNBits' inputs


class FuseBias(Pass):
    """Let a MatMulNBits add the bias that is added to what it gives."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        found = [
            (node, *sum_)
            for node in model.graph.all_nodes()
            if node.op_type == "MatMulNBits" and (sum_ := _bias_after(node)) is not None
        ]
        for node, add, bias in found:
            inputs = [*node.inputs, *[None] * (_BIAS - len(node.inputs)), bias]
            new = ir.node(
                node.op_type, inputs, dict(node.attributes), domain=node.domain, name=node.name
            )
            output, before = new.outputs[0], add.outputs[0]
            output.type, output.shape = before.type, before.shape
            put_in_place(add.outputs[0], [new])
        unused = common_passes.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(found) or unused.modified)


def _bias_after(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The sum that alone reads a product, and the stored vector [n] in it."""
    product = node.outputs[0]
    uses = list(product.uses())
    if product.is_graph_output() or len(uses) != 1 or len(node.inputs) > _BIAS:
        return None
    add = uses[0].node
    if not is_op(add, "Add"):
        return None
    bias = add.inputs[1 - uses[0].idx]
    tensor = constant(bias)
    wanted = [node.attributes.get_int("N", 0)]
    if bias is None or tensor is None or list(tensor.shape) != wanted:
        return None
    return add, bias
