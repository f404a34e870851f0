"""What the passes share: how they say why a place was left alone, and how they change a graph."""

import logging
from abc import abstractmethod
from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

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


class JoiningPass(Pass):
    """A pass that puts one node in the place of several; what nobody reads any more goes.

    Attributes:
        count: nodes, or groups of nodes, that were replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @abstractmethod
    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place; returns how many were replaced."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        self.count = self.join(model)
        if self.count:
            common_passes.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=bool(self.count))


def put_in_place(old: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Let the last of ``nodes`` make ``old``, where its maker stood: in the graph or a branch."""
    maker = old.producer()
    assert maker is not None
    assert maker.graph is not None
    new = nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(maker.graph, maker, [maker], nodes, [old], [new])
