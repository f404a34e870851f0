"""Whether a graph ends: no value is made of itself, and no function calls itself.

Whatever follows values back to where they come from, or puts functions in the place of their calls,
would else go round for ever, or make a billion nodes of a few.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from ..errors import InputError

MOST_NODES = 1_000_000
"""Of a graph with its functions in the place of their calls; large models have some 100,000."""


def check_order(model: ir.Model, path: Path) -> None:
    """Hold ``model`` to what ONNX asks for.

    Raises:
        InputError: a node reads what is made of its own outputs, a function calls itself, or there
            would be more than :data:`MOST_NODES` without functions.
    """
    parts = [model.graph.all_nodes(), *(one.all_nodes() for one in model.functions.values())]
    for nodes in parts:
        node = _in_a_circle(list(nodes))
        if node is not None:
            raise InputError(
                f"{path} is no whole model: {node.op_type} {node.name} reads what is made of its "
                "own outputs; export it again"
            )
    if model.functions and _without_functions(model, path) > MOST_NODES:
        raise InputError(
            f"{path} has more than {MOST_NODES:,} nodes where its functions are called; give a "
            "model without functions"
        )


def _in_a_circle(nodes: list[ir.Node]) -> ir.Node | None:
    """A node that depends on itself; None for none. No recursion: chains of nodes are long."""
    done: set[ir.Node] = set()
    for first in nodes:
        if first in done:
            continue
        path, open_ = [(first, _needed(first))], {first}
        while path:
            node, rest = path[-1]
            further = next((one for one in rest if one not in done), None)
            if further is None:
                path.pop()
                open_.remove(node)
                done.add(node)
            elif further in open_:
                return further
            else:
                path.append((further, _needed(further)))
                open_.add(further)
    return None


def _needed(node: ir.Node) -> Iterator[ir.Node]:
    """What has to run before a node is done: what makes its inputs, and the nodes in its graphs."""
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None:
            yield producer
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield from attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from graph


def _without_functions(model: ir.Model, path: Path) -> int:
    sizes: dict[ir.OperatorIdentifier, int] = {}
    open_: set[ir.OperatorIdentifier] = set()

    def size(nodes: Iterator[ir.Node]) -> int:
        return sum(of(node.op_identifier()) for node in nodes)

    def of(name: ir.OperatorIdentifier) -> int:
        if name not in model.functions:
            return 1
        if name in open_:
            raise InputError(
                f"{path} is no whole model: its function {name[1]} calls itself; export it again"
            )
        if name not in sizes:
            open_.add(name)
            sizes[name] = size(model.functions[name].all_nodes())
            open_.remove(name)
        return sizes[name]

    return size(model.graph.all_nodes())
