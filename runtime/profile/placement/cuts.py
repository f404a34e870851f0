"""Where a graph is cut, given the provider of each node."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass

import onnx_ir as ir

from .partitioned_graph import value_bytes


@dataclass(frozen=True)
class Island:
    """Connected nodes that one provider runs together.

    Attributes:
        provider: onnxruntime's name.
        operators: nodes by operator, as ``Gather`` or ``com.microsoft::MatMulNBits``.
        shapes_only: its nodes compute shapes alone, which onnxruntime leaves to the CPU.
    """

    provider: str
    operators: dict[str, int]
    shapes_only: bool = False


@dataclass(frozen=True)
class Cuts:
    """How a graph is cut.

    Attributes:
        islands: the largest first.
        tensors: values that one provider computes and another reads, counted once for each provider
            that reads them; values that shape arithmetic computes or reads do not count.
        bytes: bytes of these values in one call, as far as shapes are known.
        unsized: number of these values whose size is unknown.
    """

    islands: tuple[Island, ...]
    tensors: int
    bytes: int
    unsized: int


def find_cuts(
    graph: ir.Graph,
    providers: Mapping[ir.Node, str],
    shapes: Set[ir.Node],
    groups: Mapping[ir.Node, int] | None = None,
) -> Cuts:
    """Islands, and the values that pass between them.

    Args:
        graph: only nodes of the main graph count; a branch belongs to its If node.
        providers: of each node; an absent node belongs to no island.
        shapes: nodes of shape arithmetic that onnxruntime leaves to the CPU; they form islands of
            their own.
        groups: a number for each node that is compiled together with others; equal numbers are one
            island.
    """
    groups = groups or {}
    kinds = {
        node: (provider, groups.get(node, -1), node in shapes)
        for node, provider in providers.items()
    }
    joined = {node: node for node in kinds}
    first: dict[int, ir.Node] = {}
    for node, group in groups.items():
        if group >= 0:
            joined[node] = first.setdefault(group, node)
    crossing: set[tuple[ir.Value, str]] = set()
    for reader in graph:
        for value in reader.inputs:
            maker = None if value is None else value.producer()
            if value is None or maker not in kinds or reader not in kinds:
                continue
            if kinds[maker] == kinds[reader]:
                joined[_root(joined, maker)] = _root(joined, reader)
            elif kinds[maker][0] != kinds[reader][0] and not shapes & {maker, reader}:
                crossing.add((value, kinds[reader][0]))
    members: dict[ir.Node, Counter[str]] = defaultdict(Counter)
    for node in kinds:
        members[_root(joined, node)][operator(node)] += 1
    islands = [
        Island(kinds[root][0], dict(counts.most_common()), kinds[root][2])
        for root, counts in members.items()
    ]
    held = [value_bytes(value) for value, _ in crossing]
    return Cuts(
        tuple(sorted(islands, key=lambda island: -sum(island.operators.values()))),
        len(crossing),
        sum(size for size in held if size is not None),
        held.count(None),
    )


def operator(node: ir.Node) -> str:
    """Its type, with the domain where that is not ONNX's own."""
    return operator_name(node.op_type, node.domain)


def operator_name(op_type: str, domain: str) -> str:
    """As :func:`operator`, from the two names."""
    return f"{domain}::{op_type}" if domain not in ("", "ai.onnx") else op_type


def _root(joined: dict[ir.Node, ir.Node], node: ir.Node) -> ir.Node:
    while joined[node] is not node:
        joined[node] = joined[joined[node]]
        node = joined[node]
    return node
