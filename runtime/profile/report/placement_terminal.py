"""Partition reports and predictions for a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.visible import visible

from ...providers import short_name
from ..placement.cuts import Island
from ..placement.placement import PlacedNode, Placement
from ..predict.predict import Prediction

_SHOWN = 6  # islands, operators; the others are only counted


def render_placement(placement: Placement, *, nodes: bool = False) -> Group:
    """Operators by provider, islands, what crosses, what to change; ``nodes`` for each node."""
    wanted = short_name(placement.wanted)
    blocks: list[RenderableType] = [_operators(placement.nodes, placement.wanted)]
    lines = [_islands(placement.islands, placement.wanted)]
    if placement.crossing_tensors is None:
        lines = [f"{wanted} ran its nodes compiled into one, so cuts are unknown"]
    elif placement.crossing_tensors:
        lines.append(_crossing(placement))
    if placement.shape_nodes:
        lines.append(f"{_count(placement.shape_nodes, 'node')} of shape arithmetic on the CPU")
    if placement.unmatched or placement.untold:
        lines.append(
            f"{_count(placement.unmatched, 'node')} reported that the graph does not have, "
            f"{placement.untold} of the graph not reported"
        )
    blocks += [Text(visible(line)) for line in lines if line]
    blocks += _advice(placement.advice)
    if nodes:
        blocks.append(_nodes(placement.details))
    return Group(*blocks)


def render_prediction(prediction: Prediction) -> Group:
    """Which nodes would be taken, which not and why; marked as a prediction."""
    taken, refused = sum(prediction.taken.values()), sum(r.count for r in prediction.refused)
    whole = taken + refused + prediction.shape_nodes
    table = Table(
        title=f"{prediction.subject} on {prediction.place}: {prediction.note}",
        caption=f"source: {prediction.source}",
    )
    table.add_column("left to the CPU")
    table.add_column("nodes", justify="right")
    table.add_column("why")
    for one in prediction.refused[: 2 * _SHOWN]:
        table.add_row(one.operator, str(one.count), one.reason)
    more = sum(one.count for one in prediction.refused[2 * _SHOWN :])
    if more:
        table.add_row("others", str(more), "")
    lines = [
        f"would take {taken} of {_count(whole, 'node')}",
        _islands(prediction.islands, prediction.provider),
        _crossing(prediction) if prediction.crossing_tensors else "",
    ]
    return Group(
        table, *(Text(visible(line)) for line in lines if line), *_advice(prediction.advice)
    )


def _operators(nodes: dict[str, dict[str, int]], wanted: str) -> Table:
    table = Table()
    table.add_column("provider")
    table.add_column("nodes", justify="right")
    table.add_column("operators")
    for provider in sorted(nodes, key=lambda name: (name != wanted, name)):
        counts = nodes[provider]
        table.add_row(short_name(provider), str(sum(counts.values())), _words(counts))
    return table


def _islands(islands: Sequence[Island], wanted: str) -> str:
    """One line: how many, how large."""
    real = [island for island in islands if not island.shapes_only]
    own = [sum(island.operators.values()) for island in real if island.provider == wanted]
    others = [sum(island.operators.values()) for island in real if island.provider != wanted]
    words = [f"{_count(len(own), 'island')} on {short_name(wanted)}{_sizes(own)}"]
    if others:
        words.append(f"{len(others)} elsewhere{_sizes(others)}")
    return ", ".join(words)


def _sizes(sizes: list[int]) -> str:
    """As ``(1 x 245, 6 x 3 nodes)``: how many islands of how many nodes."""
    counts = [f"{number} x {size}" for size, number in Counter(sizes).items()]
    if not counts:
        return ""
    more = ", ..." if len(counts) > _SHOWN else ""
    return f" ({', '.join(counts[:_SHOWN])}{more} nodes)"


def _crossing(one: Placement | Prediction) -> str:
    unsized = one.crossing_unsized
    size = f", {one.crossing_bytes or 0:,} bytes a call"
    if unsized:
        size = f"{size} and {unsized} of unknown size" if one.crossing_bytes else ", of free shape"
    return f"{_count(one.crossing_tensors or 0, 'tensor')} between providers{size}"


def _advice(lines: Iterable[str]) -> list[Text]:
    return [Text(visible(f"- {line}")) for line in lines]


def _nodes(details: Iterable[PlacedNode]) -> Table:
    table = Table()
    for heading in ("node", "operator", "provider", "reads", "us"):
        table.add_column(heading, justify="right" if heading == "us" else "left")
    for node in details:
        time = "" if node.microseconds is None else f"{node.microseconds:.0f}"
        provider = short_name(node.provider) or "?"
        reads = ", ".join(name or "?" for name in node.types)
        operator = f"{node.operator} (shapes)" if node.shapes_only else node.operator
        table.add_row(Text(visible(node.name)), operator, provider, reads, time)
    return table


def _words(counts: dict[str, int]) -> str:
    words = [f"{name} {count}" for name, count in list(counts.items())[:_SHOWN]]
    more = sum(list(counts.values())[_SHOWN:])
    return ", ".join([*words, f"others {more}"] if more else words)


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"
