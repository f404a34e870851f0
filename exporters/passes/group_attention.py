"""Attention with a cache whose keys and values several heads share, as one node."""

from dataclasses import dataclass

import onnx_ir as ir

from toolkit.graph.forms import MICROSOFT, is_op
from toolkit.graph.store import store_numbers

from .base import JoiningPass

_MASK = 5  # its place among MultiHeadAttention's inputs
_TURN = (0, 2, 1, 3)


class GroupAttention(JoiningPass):
    """Replace a MultiHeadAttention that reads a cache by a GroupQueryAttention.

    Grouped queries (Ainslie et al., EMNLP 2023): some heads share a key and a value. Exporters
    repeat those for each head at each step, which for a long text moves more bytes than the weights
    have. onnxruntime's node reads them where they are, and appends to the cache itself. It takes
    the same mask, as a bias, since onnxruntime 1.21. It lets no token see those after it, so
    whoever replaces has to prove that the model does not either. And it refuses one thing that
    other attention computes: several tokens of several texts after a cache.
    """

    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place."""
        found = [
            cached
            for node in model.graph
            if node.op_type == "MultiHeadAttention"
            and node.domain == MICROSOFT
            and (cached := _cached(node)) is not None
        ]
        lengths = _Lengths(model.graph)
        for each in found:
            _replace(each, lengths)
        return len(found)


@dataclass(frozen=True, eq=False)
class _Cached:
    """A MultiHeadAttention over ``Concat(past, new)``.

    Attributes:
        node: the attention.
        keys: the Concat of keys, [batch, shared heads, all, size].
        values: that of values.
        shared: heads of keys and values.
        size: of a head.
    """

    node: ir.Node
    keys: ir.Node
    values: ir.Node
    shared: int
    size: int


def _cached(node: ir.Node) -> _Cached | None:
    if len(node.inputs) != _MASK + 1 or node.inputs[_MASK] is None:
        return None
    keys, values = (_appended(node, value) for value in node.inputs[1:3])
    if keys is None or values is None:
        return None
    shapes = [each.inputs[0].shape for each in (keys, values) if each.inputs[0] is not None]
    sizes = {(shape[1], shape[3]) for shape in shapes if shape is not None and len(shape) == 4}
    if len(shapes) != 2 or len(sizes) != 1:
        return None
    shared, size = sizes.pop()
    heads = node.attributes.get_int("num_heads", 0)
    if not isinstance(shared, int) or not isinstance(size, int) or heads % shared:
        return None
    return _Cached(node, keys, values, shared, size)


def _appended(attention: ir.Node, value: ir.Value | None) -> ir.Node | None:
    """The Concat of a cache and new tokens that ``attention`` alone reads, each head repeated."""
    node = None if value is None else value.producer()
    reader = attention
    if node is not None and is_op(node, "Reshape"):
        for name in ("Reshape", "Expand", "Unsqueeze"):
            if node is None or not is_op(node, name) or not _is_read_by(node, reader):
                return None
            reader, above = node, node.inputs[0]
            node = None if above is None else above.producer()
    if node is None or not is_op(node, "Concat") or not _is_read_by(node, reader):
        return None
    past = node.inputs[0]
    along = node.attributes.get_int("axis", 0) in (-2, 2)
    return node if along and len(node.inputs) == 2 and past and past.is_graph_input() else None


def _is_read_by(node: ir.Node, reader: ir.Node) -> bool:
    """Whether it alone reads what ``node`` gives; the graph may give that too."""
    return {use.node for use in node.outputs[0].uses()} == {reader}


def _replace(cached: _Cached, lengths: "_Lengths") -> None:
    node, mask = cached.node, cached.node.inputs[_MASK]
    assert mask is not None
    nodes, keys_before, total = lengths.of(mask, node.inputs[0])
    graph = node.graph
    assert graph is not None
    tokens = [_tokens(graph, each.inputs[1], nodes) for each in (cached.keys, cached.values)]
    past = [each.inputs[0] for each in (cached.keys, cached.values)]
    attributes = {
        "num_heads": node.attributes.get_int("num_heads", 0),
        "kv_num_heads": cached.shared,
        "scale": node.attributes.get_float("scale", 0.0),
    }
    new = ir.node(
        "GroupQueryAttention",
        [node.inputs[0], *tokens, *past, keys_before, total, None, None, None, mask],
        attributes,
        domain=MICROSOFT,
        name=node.name,
        num_outputs=3,
    )
    old = [each.outputs[0] for each in (node, cached.keys, cached.values)]
    for before, after in zip(old, new.outputs, strict=True):
        after.type, after.shape = before.type, before.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], [*nodes, new], old, new.outputs)


def _tokens(graph: ir.Graph, heads: ir.Value | None, nodes: list[ir.Node]) -> ir.Value:
    """[batch, length, heads * size] of [batch, heads, length, size]."""
    assert heads is not None
    turn = ir.node("Transpose", [heads], {"perm": _TURN})
    flat = ir.node("Reshape", [turn.outputs[0], store_numbers(graph, 0, 0, -1)])
    for node in (turn, flat):
        node.outputs[0].type = heads.type
    nodes += [turn, flat]
    return flat.outputs[0]


class _Lengths:
    """How long texts are, as GroupQueryAttention asks; made once for all layers of one mask."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def of(
        self, mask: ir.Value, query: ir.Value | None
    ) -> tuple[list[ir.Node], ir.Value, ir.Value]:
        """New nodes; the place of the last token int32 [batch]; tokens in all int32 [1]."""
        assert query is not None
        nodes: list[ir.Node] = []
        if mask not in self._made:

            def op(name: str, *inputs: ir.Value, **settings: int) -> ir.Value:
                nodes.append(ir.node(name, list(inputs), settings))
                return nodes[-1].outputs[0]

            total = op("Shape", mask, start=3, end=4)
            batch = op("Shape", query, start=0, end=1)
            last = op("Expand", op("Sub", total, store_numbers(self._graph, 1)), batch)
            both = [op("Cast", value, to=int(ir.DataType.INT32)) for value in (last, total)]
            for node in nodes:
                kind = ir.DataType.INT32 if node.op_type == "Cast" else ir.DataType.INT64
                node.outputs[0].type = ir.TensorType(kind)
            self._made[mask] = both[0], both[1]
        return nodes, *self._made[mask]
