"""How passes change a graph: an initializer more, other nodes in a value's place."""

from collections.abc import Sequence

import onnx_ir as ir
from numpy.typing import ArrayLike


def store(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """A new initializer of ``graph`` that holds ``array``."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def put_in_place(old: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Let the last of ``nodes`` make ``old``, where its maker stood: in the graph or a branch."""
    maker = old.producer()
    assert maker is not None
    assert maker.graph is not None
    new = nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(maker.graph, maker, [maker], nodes, [old], [new])
