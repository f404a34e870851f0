"""Which execution provider takes which node, where the graph is cut, and what to change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Island:
    """Connected nodes that one provider runs together."""

    provider: str
    operators: dict[str, int]


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a model ran."""

    nodes: dict[str, dict[str, int]]
    islands: tuple[Island, ...] = ()
    crossing_tensors: int | None = None
    advice: tuple[str, ...] = ()
