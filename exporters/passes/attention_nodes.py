"""Attention as one node of onnxruntime's, and what that node wants of its inputs."""

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.forms import MICROSOFT
from toolkit.graph.store import store_numbers

from .attention_forms import Attention


def attention_nodes(attention: Attention, made: "Before") -> list[ir.Node]:
    """What stands in an attention's place, the last making its output."""
    made.start(attention)
    query = made.tokens(attention.query) if attention.turned else attention.query
    inputs = [query, attention.key, attention.value]
    mask = made.mask(attention.masks, query)
    node = ir.node(
        "MultiHeadAttention",
        inputs if mask is None else [*inputs, None, None, mask],
        domain=MICROSOFT,
        name=f"{attention.output.name}_attention",
        attributes={"num_heads": attention.heads, "scale": attention.scale},
    )
    nodes, output = [*made.nodes, node], node.outputs[0]
    if attention.shape is not None:
        output.type, output.name = attention.output.type, f"{node.name}_output"
        nodes.append(ir.node("Reshape", [output, attention.shape], name=f"{node.name}_flat"))
    last = nodes[-1].outputs[0]
    last.type, last.shape = attention.output.type, attention.output.shape
    return nodes


class Before:
    """What has to be made of inputs first; made once for all layers that share it."""

    def __init__(self, graph: ir.Graph) -> None:
        self.nodes: list[ir.Node] = []
        self._graph = graph
        self._place: object = None
        self._made: dict[tuple[object, ...], ir.Value] = {}

    def start(self, attention: Attention) -> None:
        """Gather the nodes of another attention."""
        maker = attention.output.producer()
        self._place = None if maker is None else maker.graph  # branches do not see each other's
        self.nodes = []

    def tokens(self, heads: ir.Value) -> ir.Value:
        """[batch, length, heads * size] of [batch, heads, length, size]."""
        turned = self._op("Transpose", heads, perm=(0, 2, 1, 3))
        return self._op("Reshape", turned, self._ints(0, 0, -1))

    def mask(self, masks: Sequence[ir.Value], query: ir.Value) -> ir.Value | None:
        """One mask [batch or 1, heads or 1, length, others], as MultiHeadAttention takes it."""
        if not masks:
            return None
        mask, *others = masks
        for other in others:
            mask = self._op("Add", mask, other)
        if mask.shape is None or len(mask.shape) != 4 or mask.shape[2] == 1:
            mask = self._op("Expand", mask, self._lines(query))
        return mask

    def _lines(self, query: ir.Value) -> ir.Value:
        """The shape [1, 1, length, 1]."""
        size = self._op("Slice", self._op("Shape", query), self._ints(1), self._ints(2))
        return self._op("Concat", self._ints(1, 1), size, self._ints(1), axis=0)

    def _op(self, op: str, *inputs: ir.Value, **settings: int | tuple[int, ...]) -> ir.Value:
        key = (self._place, op, *inputs)
        if key not in self._made:
            name = f"lighttoken.attention.{len(self._made)}"
            node = ir.node(op, list(inputs), settings, name=name)
            value = node.outputs[0]
            value.name = name
            value.type = ir.TensorType(ir.DataType.INT64)
            if op not in ("Shape", "Slice", "Concat"):
                value.type = inputs[0].type
            self.nodes.append(node)
            self._made[key] = value
        return self._made[key]

    def _ints(self, *numbers: int) -> ir.Value:
        return store_numbers(self._graph, *numbers)
