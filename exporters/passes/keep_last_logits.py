"""Logits of the last tokens only, on request."""

import numpy as np
import onnx_ir as ir

from toolkit.bundle.feeds import LOGITS_TO_KEEP
from toolkit.graph.products import LOGITS, is_product, logits_makers
from toolkit.graph.store import store

from .base import Pass

_TO_THE_END = np.iinfo(np.int64).max


class KeepLastLogits(Pass):
    """Add an input ``num_logits_to_keep``, an int64 scalar.

    A decoder that goes on writing needs the logits of one token, and those of a prompt of 512
    tokens are 512 x 262,144 numbers in some vocabularies. With 1 the output head multiplies the
    last token's hidden state alone. The default 0 keeps all, so that runtimes which do not know the
    input (its name is transformers' and transformers.js') get what they always got: it is an
    initializer that may be overridden. ``optional`` False leaves the default out, for runtimes that
    take no input which has one: the input must then be given.
    """

    def __init__(self, *, optional: bool = True) -> None:
        super().__init__()
        self._optional = optional

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place, if its ``logits`` come from an output head."""
        graph = model.graph
        head = self._find_head(graph)
        if head is None or LOGITS_TO_KEEP in {value.name for value in graph.inputs}:
            return ir.passes.PassResult(model, modified=False)
        hidden = head.inputs[0]
        assert hidden is not None
        keep = (
            store(graph, LOGITS_TO_KEEP, np.array(0, np.int64))
            if self._optional
            else ir.val(LOGITS_TO_KEEP, dtype=ir.DataType.INT64)
        )
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
        makers = list(logits_makers(graph, reshaped=False))
        if not makers:
            return None
        node = makers[0]
        if node.graph is not graph:
            self.leave(node, "makes the logits in a branch of the graph")
            return None
        if not is_product(node):
            self.leave(node, "makes the logits and is no product with a matrix")
            return None
        hidden = node.inputs[0]
        logits = next(value for value in graph.outputs if value.name == LOGITS)
        shapes = [value.shape for value in (hidden, logits) if value is not None]
        rank = next((len(shape) for shape in shapes if shape is not None), None)
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
