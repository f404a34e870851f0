"""Which nodes a provider would take, by a table of the operators that it supports."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from toolkit.errors import InputError
from toolkit.graph.forms import constant

from ...providers import CPU
from ..placement.advice import FallbackNode, advise
from ..placement.advice_rules import FREE_SHAPE, NO_CONSTANT, TOO_LARGE
from ..placement.cuts import Island, find_cuts, operator
from ..placement.partitioned_graph import (
    is_free,
    partitioned_graph,
    read_graph,
    shape_nodes,
    sizes,
    type_name,
)
from .operators import SUPPORT, Operator, Support


@dataclass(frozen=True)
class Refusal:
    """Nodes that a provider would leave to the CPU, and why.

    Attributes:
        operator: with its domain, but for ONNX's own.
        reason: one line.
        count: nodes.
    """

    operator: str
    reason: str
    count: int


@dataclass(frozen=True)
class Prediction:
    """Which nodes a provider would take; from documents, nothing was run.

    Attributes:
        place: a word of :data:`.operators.SUPPORT`.
        subject: the model's name.
        provider: onnxruntime's name.
        source: where the table of operators is from.
        date: of that source, ISO 8601.
        taken: nodes that it would take, by operator.
        refused: nodes that it would not, shape arithmetic excepted.
        shape_nodes: nodes of shape arithmetic that it would leave to the CPU.
        islands: of both providers, the largest first.
        crossing_tensors, crossing_bytes, crossing_unsized: as in a
            :class:`..placement.placement.Placement`.
        advice: what to change, a line each.
    """

    place: str
    subject: str
    provider: str
    source: str
    date: str
    taken: dict[str, int]
    refused: tuple[Refusal, ...]
    shape_nodes: int
    islands: tuple[Island, ...]
    crossing_tensors: int
    crossing_bytes: int
    crossing_unsized: int
    advice: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What a reader has to know before anything else."""
        return f"predicted from a table of {self.date}, nothing was run"


def predict(
    model: Path,
    place: str,
    *,
    subject: str = "",
    dimensions: Mapping[str, int] | None = None,
) -> Prediction:
    """Predict node by node what a provider would take of the model; nothing is run there.

    Args:
        model: an ``.onnx`` file.
        place: a word of :data:`.operators.SUPPORT`.
        subject: the model's name; if empty, the name of the file's folder.
        dimensions: symbolic dimensions to fix, by name.

    Raises:
        InputError: no table for this place; the model is an ``.ort`` file.
        FormatError: onnxruntime cannot load the model.
    """
    if place not in SUPPORT:
        raise InputError(f"no table of operators for {place!r}; choose from {', '.join(SUPPORT)}")
    table = SUPPORT[place]
    with partitioned_graph(model, dimensions=dimensions) as graph:
        reasons = {node: refusal(node, table) for node in graph}
        providers = {node: CPU if reason else table.provider for node, reason in reasons.items()}
        shapes = {node for node in shape_nodes(graph) if reasons[node]}
        left = [node for node, reason in reasons.items() if reason and node not in shapes]
        cuts = find_cuts(graph, providers, shapes)
        refused = Counter((operator(node), reasons[node]) for node in left)
        taken = Counter(operator(node) for node, reason in reasons.items() if not reason)
        fallback = [
            FallbackNode(operator(node), tuple(map(type_name, node.inputs)), reasons[node])
            for node in left
        ]
        advice = advise(
            table.provider,
            fallback,
            free_shapes=any(map(is_free, graph.inputs)),
            external=not table.external and _has_external(model),
        )
    return Prediction(
        place=place,
        subject=subject or model.absolute().parent.name,
        provider=table.provider,
        source=table.source,
        date=table.date,
        taken=dict(taken.most_common()),
        refused=tuple(Refusal(name, why, count) for (name, why), count in refused.most_common()),
        shape_nodes=len(shapes),
        islands=cuts.islands,
        crossing_tensors=cuts.tensors,
        crossing_bytes=cuts.bytes,
        crossing_unsized=cuts.unsized,
        advice=advice,
    )


def refusal(node: ir.Node, table: Support) -> str:
    """Why this provider would not take the node, in a few words; empty where it would."""
    asked = table.operators.get(operator(node))
    if asked is None:
        return "not in the table"
    first = type_name(node.inputs[0]) if node.inputs else ""
    if asked.types and first and first not in asked.types:
        return f"{first} input"
    return _by_inputs(node, asked) or _by_attributes(node, asked) or _by_shapes(node, table)


def _by_inputs(node: ir.Node, asked: Operator) -> str:
    for index, types in asked.others.items():
        value = node.inputs[index] if index < len(node.inputs) else None
        dtype = type_name(value)
        if dtype and dtype not in types and constant(value) is None:
            return f"{dtype} input {index}"
    for index in asked.constants:
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None and constant(value) is None:
            return f"input {index} {NO_CONSTANT}"
    if asked.product and not _is_product(node):
        return "no product of two matrices, nor of two equal stacks of matrices"
    return ""


def _is_product(node: ir.Node) -> bool:
    left, right = sizes(node.inputs[0]), sizes(node.inputs[1])
    if left is None or right is None:
        return False
    if len(left) == len(right) == 2:
        return constant(node.inputs[1]) is not None
    return len(left) == len(right) > 2 and left[:-2] == right[:-2]


def _by_attributes(node: ir.Node, asked: Operator) -> str:
    if asked.to:
        to = ir.DataType(node.attributes.get_int("to", 0)).name.lower()
        if to not in asked.to:
            return f"gives {to}"
    for name, values in asked.attributes.items():
        value = node.attributes.get_int(name, values[0])
        if value not in values:
            return f"{name} is {value}"
    return ""


def _by_shapes(node: ir.Node, table: Support) -> str:
    for value in node.inputs:
        shape = sizes(value)
        if value is None or value.name == "":
            continue
        if shape is None or None in shape:
            if table.static:
                return FREE_SHAPE
            continue
        if table.rank is not None and len(shape) > table.rank:
            return f"{len(shape)} dimensions"
        if table.size is not None and max((size or 0 for size in shape), default=0) > table.size:
            return f"{TOO_LARGE} {table.size:,}"
    return ""


def _has_external(model: Path) -> bool:
    tensors = (value.const_value for value in read_graph(model).graph.initializers.values())
    return any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)
