"""The packed operators' functions inlined into the graph, for tools that know no functions."""

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit.graph.contract import DOMAIN, WEIGHTS_DOMAIN

from ..ops.float_types import take_float32
from .base import Pass

_OURS = (DOMAIN, WEIGHTS_DOMAIN)


class InlineFunctions(Pass):
    """Put the bodies of the packed operators, and those of weights, in the place of their nodes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        ours = [function for function in model.functions.values() if function.domain in _OURS]
        if not ours:
            return ir.passes.PassResult(model, modified=False)
        for function in ours:
            take_float32(function)
        common_passes.InlinePass(criteria=lambda function: function.domain in _OURS)(model)
        common_passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        for domain in _OURS:
            model.opset_imports.pop(domain, None)
        # Two bodies may share a constant's name; inlining also leaves generated names behind.
        common_passes.NameFixPass()(model)
        return ir.passes.PassResult(model, modified=True)
