"""Who ran which node, and, apart from that, who is predicted to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..cuts import Island
from ..placement import PlacedNode, Placement
from ..predict import Prediction
from ..report import ProfileReport
from .stacks import Share, Stack, draw_stacks
from .words import ABSENT, amount, count, digits, provider_name

_MOST_ISLANDS, _MOST_OPERATORS, _MOST_TIMES = 8, 8, 10


@dataclass(frozen=True)
class Block:
    """A titled piece: whichever of text, chart, pairs, a table and a list there is."""

    title: str
    text: str = ""
    chart: Markup | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partition:
    """One model in one place; ``summary`` is a line."""

    place: str
    subject: str
    summary: str
    blocks: tuple[Block, ...]


def placements(report: ProfileReport) -> list[Partition]:
    """Of each measurement that has one."""
    found = []
    providers = _providers(report)
    for at, one in enumerate(report.measurements):
        if one.placement is None:
            continue
        blocks = _placed(one.placement, f"nodes{at}", providers)
        found.append(Partition(one.place, one.subject, _summary(one.placement), tuple(blocks)))
    return found


def predictions(report: ProfileReport) -> list[Partition]:
    """In the order of the report."""
    return [
        Partition(
            one.place,
            one.subject,
            f"{_of(_total(one.taken), _total(one.taken) + _refused(one))} taken",
            tuple(_predicted(one)),
        )
        for one in report.predictions
    ]


def operators(counts: Mapping[str, int], most: int = _MOST_OPERATORS) -> str:
    """``MatMul 72, Add 40 and 12 more kinds``, the most frequent first."""
    ranked = _ranked(counts)
    text = ", ".join(f"{name} {number}" for name, number in ranked[:most])
    rest = len(ranked) - most
    return f"{text} and {count(rest, 'more kind')}" if rest > 0 else text


def _summary(one: Placement) -> str:
    taken = _total(one.nodes.get(one.wanted, {}))
    every = sum(_total(kinds) for kinds in one.nodes.values())
    return f"{_of(taken, every)} on {provider_name(one.wanted)}"


def _placed(one: Placement, key: str, providers: Sequence[str]) -> list[Block]:
    shares = tuple(
        Share(
            providers.index(name) % 6 + 1, provider_name(name), _total(kinds), f"{_total(kinds):,}"
        )
        for name, kinds in one.nodes.items()
    )
    total = sum(share.value for share in shares)
    stack = Stack("by provider", count(int(total), "node"), shares)
    told = {
        "assigned": "the runtime's own division of the graph",
        "profiled": "what the runtime ran; a provider that compiles shows one node for many",
    }
    facts = [
        ("asked for", provider_name(one.wanted)),
        ("told by", told.get(one.source, one.source)),
        *_cuts(one),
        ("nodes not in the graph", f"{one.unmatched:,}" if one.unmatched else ""),
        ("nodes not told of", f"{one.untold:,}" if one.untold else ""),
    ]
    names = sorted({name for kinds in one.nodes.values() for name in kinds})
    names.sort(key=lambda name: -sum(kinds.get(name, 0) for kinds in one.nodes.values()))
    table = tuple(
        (
            name,
            tuple(f"{kinds[name]:,}" if name in kinds else ABSENT for kinds in one.nodes.values()),
        )
        for name in names
    )
    chart = draw_stacks(key, "Nodes by provider", [stack]) if shares else None
    blocks = [
        Block("What to change", items=one.advice),
        Block("", chart=chart, pairs=tuple((name, value) for name, value in facts if value)),
        Block("Not taken by the provider asked for", text=operators(one.fallback, most=40)),
        _islands(one.islands),
        _times(one.details),
        Block(
            "Nodes by operator and provider",
            columns=tuple(provider_name(name) for name in one.nodes),
            rows=table,
        ),
    ]
    return [block for block in blocks if _holds(block)]


def _predicted(one: Prediction) -> list[Block]:
    refused = tuple(
        f"{refusal.operator} {refusal.count}: {refusal.reason}" for refusal in one.refused
    )
    facts = [
        ("provider", provider_name(one.provider)),
        ("source", one.source),
        ("of", one.date),
        *_cuts(one),
    ]
    blocks = [
        Block("", text=f"{one.note[:1].upper()}{one.note[1:]}."),
        Block("What to change", items=one.advice),
        Block("", pairs=tuple((name, value) for name, value in facts if value)),
        Block("Would stay on the CPU", items=refused),
        Block("Would be taken", text=operators(one.taken, most=40)),
        _islands(one.islands),
    ]
    return [block for block in blocks if _holds(block)]


def _cuts(one: Placement | Prediction) -> list[tuple[str, str]]:
    shapes = sum(1 for island in one.islands if island.shapes_only)
    islands = f"{len(one.islands):,}" + (f", of these {shapes:,} of shapes only" if shapes else "")
    crossing = ""
    if one.crossing_tensors is not None:
        crossing = count(one.crossing_tensors, "value")
        if one.crossing_bytes is not None:
            crossing += f", {amount(one.crossing_bytes, 'bytes')} a call"
        if one.crossing_unsized:
            crossing += f" and {one.crossing_unsized:,} of unknown size"
    return [
        ("islands", islands if one.islands else ""),
        ("crossing between providers", crossing),
        ("shape arithmetic on the CPU", count(one.shape_nodes, "node") if one.shape_nodes else ""),
    ]


def _islands(islands: Sequence[Island]) -> Block:
    items = [
        f"{provider_name(island.provider)}, {count(_total(island.operators), 'node')}"
        f"{', shapes only' if island.shapes_only else ''}: {operators(island.operators)}"
        for island in islands[:_MOST_ISLANDS]
    ]
    if len(islands) > _MOST_ISLANDS:
        items.append(f"and {count(len(islands) - _MOST_ISLANDS, 'smaller island')}")
    return Block("Islands, the largest first", items=tuple(items))


def _times(nodes: Sequence[PlacedNode]) -> Block:
    """Where the time of a call goes, if it was told."""
    spent: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        if node.microseconds is not None:
            spent[node.operator, node.provider] += round(node.microseconds)
    total = sum(spent.values())
    rows = tuple(
        (
            operator,
            (
                provider_name(provider),
                f"{digits(time / 1000)} ms",
                f"{digits(100 * time / total)}%",
            ),
        )
        for (operator, provider), time in spent.most_common(_MOST_TIMES)
        if time
    )
    return Block("Where one call's time goes", columns=("provider", "time", "share"), rows=rows)


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _providers(report: ProfileReport) -> list[str]:
    """In order of appearance, so that each keeps its colour."""
    named = [name for one in report.measurements if one.placement for name in one.placement.nodes]
    return list(dict.fromkeys(named))


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def _refused(one: Prediction) -> int:
    return sum(refusal.count for refusal in one.refused) + one.shape_nodes


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {count(whole, 'node')}"


def _holds(block: Block) -> bool:
    return bool(block.text or block.chart or block.pairs or block.rows or block.items)
