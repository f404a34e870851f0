"""Logits of the last tokens only, on request."""

import numpy as np
import onnx_ir as ir

from toolkit.bundle.feeds import LOGITS_TO_KEEP
from toolkit.graph.contract import is_head

from .base import Pass, store

_LOGITS = "logits"
_ELEMENTWISE = ("Cast", "Identity", "Mul", "Div", "Tanh", "Add", "Where")  # behind a head
_PRODUCTS = ("MatMul", "MatMulNBits")
_TO_THE_END = np.iinfo(np.int64).max


class KeepLastLogits(Pass):
    """Add an input ``num_logits_to_keep``, an int64 scalar that need not be given.

    A decoder that goes on writing needs the logits of one token, and those of a prompt of 512
    tokens are 512 x 262,144 numbers in some vocabularies. With 1 the output head multiplies the
    last token's hidden state alone. The default 0 keeps all, so that runtimes which do not know the
    input (its name is transformers' and transformers.js') get what they always got: it is an
    initializer that may be overridden.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place, if its ``logits`` come from an output head."""
        graph = model.graph
        head = self._find_head(graph)
        if head is None or LOGITS_TO_KEEP in {value.name for value in graph.inputs}:
            return ir.passes.PassResult(model, modified=False)
        hidden = head.inputs[0]
        assert hidden is not None
        keep = store(graph, LOGITS_TO_KEEP, np.array(0, np.int64))
        keep.shape = ir.Shape([])
        graph.inputs.append(keep)
        name = f"{LOGITS_TO_KEEP}."
        axis = store(graph, f"{name}axis", np.array([1], np.int64))
        end = store(graph, f"{name}end", np.array([_TO_THE_END], np.int64))
        shape = store(graph, f"{name}shape", np.array([1], np.int64))
        negative = ir.node("Neg", [keep], name=f"{name}Neg")  # -0 is the first token: all are kept
        start = ir.node("Reshape", [negative.outputs[0], shape], name=f"{name}Reshape")
        last = ir.node("Slice", [hidden, start.outputs[0], end, axis], name=f"{name}Slice")
        for node in (negative, start, last):
            node.outputs[0].name = node.name
        last.outputs[0].type = hidden.type
        head.replace_input_with(0, last.outputs[0])
        graph.insert_before(head, [negative, start, last])
        self._forget_length(graph, head)
        return ir.passes.PassResult(model, modified=True)

    def _find_head(self, graph: ir.Graph) -> ir.Node | None:
        """The product that makes the output ``logits``, of hidden states [batch, sequence, d]."""
        value = next((value for value in graph.outputs if value.name == _LOGITS), None)
        node = None if value is None else value.producer()
        while node is not None and node.op_type in _ELEMENTWISE and node.domain == "":
            makers = [each.producer() for each in node.inputs if each is not None]
            made = [maker for maker in makers if maker is not None]
            node = made[0] if len(made) == 1 else None
        if node is None:
            return None
        hidden = node.inputs[0]
        if not is_head(node) and node.op_type not in _PRODUCTS:
            self.leave(node, "makes the logits and is no product with a matrix")
            return None
        rank = None if hidden is None or hidden.shape is None else len(hidden.shape)
        if rank not in (None, 3):
            self.leave(node, f"reads hidden states of {rank} dimensions, not 3")
            return None
        return node

    def _forget_length(self, graph: ir.Graph, head: ir.Node) -> None:
        """The sequence of all values from the head to the logits is as long as what is kept."""
        values = [head.outputs[0]]
        for value in values:  # grows
            if value.shape is not None and len(value.shape) == 3:
                value.shape = ir.Shape([value.shape[0], "num_logits", value.shape[2]])
            values += [out for node, _ in value.uses() for out in node.outputs]
