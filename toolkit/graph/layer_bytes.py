"""What packed layers cost beside the tables' own bytes: functions, nodes, records of tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from .contract import DOMAIN
from .files import load_proto, model_tensors


@dataclass(frozen=True)
class Layers:
    """The packed layers of a graph.

    Attributes:
        code: bytes of their functions and nodes.
        tensors: what they read, by name.
    """

    code: int
    tensors: frozenset[str]


def packed_layers(model: ir.Model) -> Layers:
    """The layers of a model that has not been inlined."""
    functions = [f for f in model.functions.values() if f.domain == DOMAIN]
    nodes = list(_nodes(model))
    return Layers(
        sum(ir.to_proto(each).ByteSize() for each in functions)
        + sum(ir.to_proto(each).ByteSize() for each in nodes),
        frozenset(
            value.name
            for node in nodes
            for value in node.inputs
            if value is not None and value.is_initializer() and value.name is not None
        ),
    )


def stock_layers(model: ir.Model, names: Iterable[str]) -> Layers:
    """The layers of stock operators that read the tensors ``names``: what is made of these alone,
    and the nodes that read that."""
    held = {name for name in names if name in model.graph.initializers}
    made, code = set(held), 0
    for node in model.graph.all_nodes():
        read = [value for value in node.inputs if value is not None]
        if not any(value.name in made for value in read):
            continue
        code += ir.to_proto(node).ByteSize()
        if all(value.name in made or value.is_initializer() for value in read):
            made |= {output.name or "" for output in node.outputs}
    return Layers(code, frozenset(held))


def layer_bytes(path: Path, layers: Layers) -> int:
    """Bytes that the ``layers`` of the model in ``path`` take beside the values of their tensors.

    Those are the layers' code, and of each tensor its name, sizes, type and place.
    """
    records = sum(
        tensor.ByteSize() - len(tensor.raw_data)
        for name, tensor in model_tensors(load_proto(path))
        if name in layers.tensors
    )
    return layers.code + records


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph.all_nodes() if node.domain == DOMAIN)
