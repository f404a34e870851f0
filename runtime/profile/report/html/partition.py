"""Who ran which node."""

from collections import Counter
from collections.abc import Sequence

from ...placement.placement import PlacedNode, Placement
from ..report import ProfileReport
from .blocks import Block, Partition, cut_facts, filled, island_block, operators, part_of, total
from .stacks import Share, Stack, draw_stacks
from .words import ABSENT, count, digits, provider_name

_MOST_TIMES = 10


def placements(report: ProfileReport) -> list[Partition]:
    """Of each measurement that has one."""
    found = []
    providers = _providers(report)
    for at, one in enumerate(report.measurements):
        if one.placement is None:
            continue
        blocks = _blocks(one.placement, f"nodes{at}", providers)
        found.append(Partition(one.place, one.subject, _summary(one.placement), blocks))
    return found


def _summary(one: Placement) -> str:
    taken = total(one.nodes.get(one.wanted, {}))
    every = sum(map(total, one.nodes.values()))
    return f"{part_of(taken, every)} on {provider_name(one.wanted)}"


def _blocks(one: Placement, key: str, providers: Sequence[str]) -> tuple[Block, ...]:
    shares = tuple(
        Share(providers.index(name) + 1, provider_name(name), total(kinds), f"{total(kinds):,}")
        for name, kinds in one.nodes.items()
    )
    every = sum(map(total, one.nodes.values()))
    stack = Stack("by provider", count(every, "node"), shares)
    told = {
        "assigned": "the runtime's own division of the graph",
        "profiled": "what the runtime ran; a provider that compiles shows one node for many",
    }
    facts = [
        ("asked for", provider_name(one.wanted)),
        ("told by", told.get(one.source, one.source)),
        *cut_facts(one),
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
        island_block(one.islands),
        _times(one.details),
        Block(
            "Nodes by operator and provider",
            columns=tuple(provider_name(name) for name in one.nodes),
            rows=table,
        ),
    ]
    return filled(blocks)


def _times(nodes: Sequence[PlacedNode]) -> Block:
    """Where the time of a call goes, if it was told."""
    spent: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        if node.microseconds is not None:
            spent[node.operator, node.provider] += round(node.microseconds)
    call = sum(spent.values())
    rows = tuple(
        (
            operator,
            (
                provider_name(provider),
                f"{digits(time / 1000)} ms",
                f"{digits(100 * time / call)}%",
            ),
        )
        for (operator, provider), time in spent.most_common(_MOST_TIMES)
        if time
    )
    return Block("Where one call's time goes", columns=("provider", "time", "share"), rows=rows)


def _providers(report: ProfileReport) -> list[str]:
    """In order of appearance, so that each keeps its colour."""
    named = [name for one in report.measurements if one.placement for name in one.placement.nodes]
    return list(dict.fromkeys(named))
