"""Which execution provider takes which node, where the graph is cut, and what to change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Island:
    """Connected nodes that one provider runs together.

    Attributes:
        provider: onnxruntime's name.
        operators: nodes by operator, as ``Gather`` or ``com.microsoft::MatMulNBits``.
        shapes_only: they compute nothing but shapes, which is ordinary on the CPU.
    """

    provider: str
    operators: dict[str, int]
    shapes_only: bool = False


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
        source: ``assigned``, what the runtime told of its division, or ``profiled``, what it ran
            (a provider that compiles shows one node for many).
        nodes: how many nodes by provider and operator, as the runtime told.
        fallback: nodes by operator that the wanted provider did not take, shape arithmetic
            excepted. Each is a reason for a cut.
        islands: the largest first.
        crossing_tensors: values that one provider makes and another one reads, once for each
            provider that reads it; without those between shape arithmetic and the rest.
        crossing_bytes: of these for one call, as far as shapes are known.
        crossing_unsized: how many of them have no known size.
        shape_nodes: nodes of shape arithmetic that the wanted provider did not take.
        unmatched: nodes that the runtime named and the graph does not have, as those that a
            provider put in; islands and tensors are without them.
        untold: nodes of the graph of which the runtime told nothing; each counts with its
            neighbours where these agree.
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
