"""What the passes share: how they say why a place was left alone, and how they change a graph."""

import logging
from collections.abc import Sequence

import onnx_ir as ir
from numpy.typing import ArrayLike

_log = logging.getLogger(__name__)


class Mismatch(Exception):  # noqa: N818 (no error: the graph is as good as before)
    """A place in a graph lacks the form that a pass replaces; the text says what is different."""


class Pass(ir.passes.InPlacePass):
    """A pass that changes the model in place.

    ``modified`` of its result is true only if something was changed.

    Attributes:
        mismatches: why places were left alone that the pass looked at, in the graph's order; logged
            too, at level DEBUG.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mismatches: list[str] = []

    def leave(self, node: ir.Node, reason: str) -> None:
        """Note why ``node`` is left as it is."""
        self.mismatches.append(f"{node.op_type} {node.name}: {reason}")
        _log.debug("%s leaves %s", type(self).__name__, self.mismatches[-1])


def store(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """A new initializer of ``graph`` that holds ``array``."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def store_once(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """The initializer of ``graph`` called ``name``; a new one that holds ``array`` if none is."""
    return graph.initializers.get(name) or store(graph, name, array)


def put_in_place(old: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Let the last of ``nodes`` make ``old``, where its maker stood: in the graph or a branch."""
    maker = old.producer()
    assert maker is not None
    assert maker.graph is not None
    new = nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(maker.graph, maker, [maker], nodes, [old], [new])
