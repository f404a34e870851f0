"""Which nodes and tensors of a graph are its embedding layer: what makes rows of token ids."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.graph.contract import LOOKUP, is_lookup, is_packed, packed_tensors
from toolkit.graph.forms import constant
from toolkit.graph.gathers import nodes_around, row_gathers, table_tensors
from toolkit.graph.ids import INTEGERS, find_ids_input
from toolkit.graph.ids import ids_input as input_of

_INLINED = f"_inlfunc_{LOOKUP}"  # how onnxruntime begins the names of a function's nodes
_COMPILED = re.compile(r"_\d+$")  # as QNNExecutionProvider_13826422419630346919_2
_SMALL = 16  # numbers of a constant that is no weight: a shape, a limit
_DECODES = {
    *(
        "Gather",
        "Cast",
        "CastLike",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Expand",
    ),
    *("Less", "Where", "Add", "Sub", "Mul", "Div", "MatMul", "MatMulInteger", "DequantizeLinear"),
}


@dataclass(frozen=True)
class Layer:
    """The embedding layer, by names; they hold for what onnxruntime makes of the graph too.

    Attributes:
        nodes: names of its nodes.
        tensors: names of the stored tensors that it reads: table or codes, codebooks, scales.
    """

    nodes: frozenset[str]
    tensors: frozenset[str]

    def has(self, node: str, op_type: str = "") -> bool:
        """Whether a node of this name is one of it, the body of an inlined function included."""
        return node in self.nodes or node.startswith(_INLINED) or op_type.startswith(LOOKUP)


def find_layer(graph: ir.Graph, ids_input: str | None = None) -> Layer:
    """The layer of a graph as it stands in the file; empty where there is none.

    In a bundle it is the decode: its node, or where that was dissolved the nodes between ids and
    rows. In any other graph it is what looks rows up by the ids, and what makes floats of the
    table. With either go the nodes that they alone read. An output head is none of it.

    Args:
        graph: read by :func:`toolkit.graph.load.load_graph`.
        ids_input: name of the input for token ids; None for that of
            :func:`toolkit.graph.ids.find_ids_input`.
    """
    ids = ids_input or find_ids_input(graph)
    packed = packed_tensors(graph)
    nodes = {node for node in graph.all_nodes() if is_lookup(node)}
    nodes |= _dissolved(graph, packed)
    tensors: set[ir.Value] = set()
    for gather in row_gathers(graph):
        if input_of(gather.inputs[1], graph) == ids:
            nodes |= set(nodes_around(gather))
            tensors |= table_tensors(gather)
    nodes |= _read_alone(graph, nodes)
    tensors |= {value for value in packed if nodes.intersection(value.consumers())}
    return Layer(
        frozenset(node.name for node in nodes if node.name),
        frozenset(value.name for value in tensors if value.name),
    )


def embedding_share(profiled: Iterable[Sequence[Any]], layer: Layer) -> float | None:
    """Its share of one call's time, 0 to 1; None where the profile does not tell.

    That is where it shows no node of the layer, or nodes that a provider compiled of many: what is
    inside them has no times.

    Args:
        profiled: ``[[provider, operator, node, microseconds], ...]`` of one call.
        layer: of the same model.
    """
    whole, own, seen = 0.0, 0.0, False
    for _, op_type, node, microseconds in profiled:
        if _COMPILED.search(op_type):
            return None
        whole += microseconds
        if layer.has(node, op_type):
            own, seen = own + microseconds, True
    return own / whole if seen and whole > 0 else None


def embedding_initializer_bytes(graph: ir.Graph, layer: Layer) -> int:
    """Bytes of the initialisers that the layer reads.

    Args:
        graph: as in the file, or what :func:`.placement.partitioned_graph.partitioned_graph` made
            of it, whose folded constants count where the layer alone reads them.
        layer: of the same model.
    """
    total = 0
    for name, value in graph.initializers.items():
        readers = value.consumers()
        alone = bool(readers) and all(layer.has(node.name or "", node.op_type) for node in readers)
        if value.const_value is not None and (name in layer.tensors or alone):
            total += value.const_value.nbytes
    return total


def _dissolved(graph: ir.Graph, packed: set[ir.Value]) -> set[ir.Node]:
    """The nodes of decodes that are no function: from the first look-up in codes to the rows.

    Rows end where something else comes in: a weight, positions, an activation.
    """
    plain = {value for value in graph.inputs if value.dtype in INTEGERS}
    made, reached = set(packed), set[ir.Value]()
    found: set[ir.Node] = set()
    for node in graph.all_nodes():
        read = [v for v in node.inputs if v is not None and v not in packed and not _small(v)]
        of_codes = node.op_type == "Gather" and node.inputs[0] in packed
        if any(value not in plain | made | reached for value in read) or is_packed(node):
            continue
        if node.op_type in _DECODES and (of_codes or reached.intersection(read)):
            found.add(node)
            reached.update(node.outputs)
        elif made.intersection(value for value in node.inputs if value is not None):
            made.update(node.outputs)
        elif not reached.intersection(read):
            plain.update(node.outputs)
    return found


def _read_alone(graph: ir.Graph, nodes: set[ir.Node]) -> set[ir.Node]:
    """The nodes above ``nodes`` whose every reader is one of them."""
    found = set(nodes)
    outputs = set(graph.outputs)
    for node in reversed(list(graph.all_nodes())):
        readers = [reader for value in node.outputs for reader in value.consumers()]
        if readers and found.issuperset(readers) and not outputs.intersection(node.outputs):
            found.add(node)
    return found


def _small(value: ir.Value) -> bool:
    held = constant(value)
    return held is not None and held.size <= _SMALL
