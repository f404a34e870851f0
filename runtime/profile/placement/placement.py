"""Which execution provider takes which node, where the graph is cut, and what to change."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN

from ...providers import CPU
from .advice import FallbackNode, advise
from .cuts import Island as Island
from .cuts import find_cuts, operator, operator_name
from .partitioned_graph import is_free, partitioned_graph, shape_nodes, type_name
from .reported import ReportedNode, assigned, only_provider, profiled, wanted_name


@dataclass(frozen=True)
class PlacedNode:
    """One node.

    Attributes:
        operator: with its domain, but for ONNX's own.
        provider: onnxruntime's name.
        types: element types of its inputs, in order; empty for those that are absent or unknown.
        shapes_only: shape arithmetic.
        microseconds: of one call; None where nothing measured it.
    """

    name: str
    operator: str
    provider: str
    types: tuple[str, ...] = ()
    shapes_only: bool = False
    microseconds: float | None = None


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a model ran.

    Attributes:
        wanted: onnxruntime's name of the provider that was asked for.
        source: ``assigned``, how the runtime divided the graph; ``profiled``, what it ran
            (a provider that compiles nodes shows one node for many); or ``counted``: one provider
            took all nodes.
        nodes: number of nodes by provider and operator, as the runtime reports them; for
            ``counted``, the nodes of the graph before fusions.
        fallback: nodes by operator that the wanted provider did not take, shape arithmetic
            excepted. Each of them can cut the graph.
        islands: the largest first.
        crossing_tensors: values that one provider computes and another one reads, counted once for
            each provider that reads them; values of shape arithmetic do not count.
        crossing_bytes: bytes of these values in one call, as far as shapes are known.
        crossing_unsized: number of these values whose size is unknown.
        shape_nodes: nodes of shape arithmetic that the wanted provider did not take.
        unmatched: nodes that the runtime reports and the graph does not have, such as nodes that a
            provider added; islands and tensors leave them out.
        untold: nodes of the graph that the runtime does not report. Such a node is given to the
            provider of its neighbours if that is one and the same.
        advice: what to change, a line each.
        details: node by node, in the graph's order.
    """

    wanted: str
    source: str
    nodes: dict[str, dict[str, int]]
    fallback: dict[str, int]
    islands: tuple[Island, ...] = ()
    crossing_tensors: int | None = None
    crossing_bytes: int | None = None
    crossing_unsized: int = 0
    shape_nodes: int = 0
    unmatched: int = 0
    untold: int = 0
    advice: tuple[str, ...] = ()
    details: tuple[PlacedNode, ...] = ()


def place_nodes(
    model: Path,
    facts: Mapping[str, Any],
    provider: str,
    *,
    dimensions: Mapping[str, int] | None = None,
) -> Placement:
    """The partition report: what the runtime reports, matched with the graph that it divided.

    Args:
        model: the ``.onnx`` file that ran.
        facts: of the measure ``places``: ``assigned`` ``[[provider, [[operator, domain, node],
            ...]], ...]``, each entry what a provider compiles together, or ``profiled``
            ``[[provider, operator, node, microseconds], ...]``, or ``counts`` ``{provider: nodes}``
            of a single provider.
        provider: what was asked for: a word of :data:`.places.PLACES` or onnxruntime's name.
        dimensions: symbolic dimensions that the session had fixed, by name.

    Raises:
        InputError: the facts have none of these; the model is an ``.ort`` file.
        FormatError: onnxruntime cannot load the model.
    """
    native = any(one.domain == DOMAIN for one in _reported(facts))
    with partitioned_graph(model, dimensions=dimensions, native=native) as graph:
        return place_graph(graph, facts, provider)


def place_graph(graph: ir.Graph, facts: Mapping[str, Any], provider: str) -> Placement:
    """As :func:`place_nodes`, of a :func:`.graph.partitioned_graph` that is open already.

    Raises:
        InputError: the facts tell of no node.
    """
    reported = _reported(facts)
    only = only_provider(facts)
    if not reported and only is not None:
        reported = [
            ReportedNode(node.name or "", node.op_type, node.domain, only) for node in graph
        ]
    wanted = wanted_name(provider, {one.provider for one in reported})
    return _match(graph, reported, wanted, facts)


def _reported(facts: Mapping[str, Any]) -> list[ReportedNode]:
    """The reported nodes; empty where a single provider took all nodes and named none."""
    reported = list(assigned(facts)) or list(profiled(facts))
    if not reported and only_provider(facts) is None:
        raise InputError(
            "the runtime reported no nodes (neither «assigned» nor «profiled»); "
            "use onnxruntime 1.24 or newer"
        )
    return reported


def _match(
    graph: ir.Graph, reported: list[ReportedNode], wanted: str, facts: Mapping[str, Any]
) -> Placement:
    source = next((word for word in ("assigned", "profiled") if facts.get(word)), "counted")
    times = {one.name: one.microseconds for one in profiled(facts)}
    by_name = {one.name: one for one in reported if one.name}
    known = {node: by_name[node.name] for node in graph if node.name in by_name}
    placed = {node: (one.provider, one.group) for node, one in known.items()}
    untold = [node for node in graph if node not in known]
    matched = {node.name for node in known}
    unmatched = [one for one in reported if one.name not in matched]
    _fill(placed, untold, (CPU, -1) if source == "profiled" else None)
    providers = {node: provider for node, (provider, _) in placed.items()}
    # A provider that compiles nodes shows other nodes in a profile: cuts cannot be found.
    hidden = any(one.provider == wanted for one in unmatched) and wanted not in providers.values()
    shapes = {node for node in shape_nodes(graph) if providers.get(node, wanted) != wanted}
    names = {node.name for node in shapes}
    nodes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in reported:
        nodes[one.provider][operator_name(one.op_type, one.domain)] += 1
    details = tuple(
        PlacedNode(
            node.name or "",
            operator(node),
            providers.get(node, ""),
            tuple(map(type_name, node.inputs)),
            node in shapes,
            times.get(node.name or ""),
        )
        for node in graph
    )
    types = {node.name: node.types for node in details}
    fallback = [
        FallbackNode(operator_name(one.op_type, one.domain), types.get(one.name, ()))
        for one in reported
        if one.provider != wanted and one.name not in names
    ]
    groups = {node: group for node, (_, group) in placed.items()}
    cuts = None if hidden else find_cuts(graph, providers, shapes, groups)
    free = any(map(is_free, graph.inputs))
    return Placement(
        wanted=wanted,
        source=source,
        nodes={name: dict(counts.most_common()) for name, counts in nodes.items()},
        fallback=dict(Counter(one.operator for one in fallback).most_common()),
        islands=() if cuts is None else cuts.islands,
        crossing_tensors=None if cuts is None else cuts.tensors,
        crossing_bytes=None if cuts is None else cuts.bytes,
        crossing_unsized=0 if cuts is None else cuts.unsized,
        shape_nodes=len(shapes),
        unmatched=len(unmatched),
        untold=len(untold),
        advice=() if wanted == CPU else advise(wanted, fallback, free_shapes=free),
        details=details,
    )


def _fill(
    placed: dict[ir.Node, tuple[str, int]], untold: list[ir.Node], otherwise: tuple[str, int] | None
) -> None:
    """Give unreported nodes to the provider that runs all of their neighbours.

    Where neighbours differ, ``otherwise`` takes the node if it is given: in a profile such nodes
    were fused after the division, which only the CPU provider does.
    """
    for node in untold:
        around = {
            placed[neighbour]
            for neighbour in (*node.predecessors(), *node.successors())
            if neighbour in placed
        }
        if len(around) == 1:
            placed[node] = around.pop()
        elif otherwise is not None:
            placed[node] = otherwise
