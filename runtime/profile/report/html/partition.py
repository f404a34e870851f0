"""Which provider runs which node: measured, and predicted without running."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ....providers import short_name
from ...placement.cuts import Island
from ...placement.placement import PlacedNode, Placement
from ...predict.predict import Prediction
from ..report import ProfileReport
from .bars import Share, Stack, draw_stacks
from .words import ABSENT, amount, count, digits

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
        blocks = _placed_blocks(one.placement, f"nodes{at}", providers)
        found.append(Partition(one.place, one.subject, _summary(one.placement), blocks))
    return found


def _summary(one: Placement) -> str:
    taken = _total(one.nodes.get(one.wanted, {}))
    every = sum(map(_total, one.nodes.values()))
    return f"{_part_of(taken, every)} on {short_name(one.wanted)}"


def _placed_blocks(one: Placement, key: str, providers: Sequence[str]) -> tuple[Block, ...]:
    shares = tuple(
        Share(providers.index(name) + 1, short_name(name), _total(kinds), f"{_total(kinds):,}")
        for name, kinds in one.nodes.items()
    )
    every = sum(map(_total, one.nodes.values()))
    stack = Stack("by provider", count(every, "node"), shares)
    told = {
        "assigned": "the runtime's own division of the graph",
        "profiled": "what the runtime ran; a provider that compiles shows one node for many",
    }
    facts = [
        ("asked for", short_name(one.wanted)),
        ("told by", told.get(one.source, one.source)),
        *_cut_facts(one),
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
        Block("Not taken by the provider asked for", text=_operators(one.fallback, most=40)),
        _island_block(one.islands),
        _times(one.details),
        Block(
            "Nodes by operator and provider",
            columns=tuple(short_name(name) for name in one.nodes),
            rows=table,
        ),
    ]
    return _filled(blocks)


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
                short_name(provider),
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


def predictions(report: ProfileReport) -> list[Partition]:
    """In the order of the report."""
    return [
        Partition(
            one.place,
            one.subject,
            f"{_part_of(_total(one.taken), _total(one.taken) + _refused(one))} taken",
            _predicted_blocks(one),
        )
        for one in report.predictions
    ]


def _predicted_blocks(one: Prediction) -> tuple[Block, ...]:
    facts = [
        ("provider", short_name(one.provider)),
        ("source", one.source),
        ("of", one.date),
        *_cut_facts(one),
    ]
    blocks = [
        Block("", text=f"{one.note[:1].upper()}{one.note[1:]}."),
        Block("What to change", items=one.advice),
        Block("", pairs=tuple((name, value) for name, value in facts if value)),
        Block("Would stay on the CPU, by reason", items=_reasons(one)),
        Block("Would be taken", text=_operators(one.taken, most=40)),
        _island_block(one.islands),
    ]
    return _filled(blocks)


def _reasons(one: Prediction) -> tuple[str, ...]:
    reasons: dict[str, Counter[str]] = {}
    for refusal in one.refused:
        reasons.setdefault(refusal.reason, Counter())[refusal.operator] += refusal.count
    ranked = sorted(reasons.items(), key=lambda pair: -_total(pair[1]))
    return tuple(f"{reason}: {_operators(counts, most=40)}" for reason, counts in ranked)


def _refused(one: Prediction) -> int:
    return sum(refusal.count for refusal in one.refused) + one.shape_nodes


def _operators(counts: Mapping[str, int], most: int = _MOST_OPERATORS) -> str:
    """``MatMul 72, Add 40 and 12 more kinds``, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f"{name} {number}" for name, number in ranked[:most])
    rest = len(ranked) - most
    return f"{text} and {count(rest, 'more kind')}" if rest > 0 else text


def _cut_facts(one: Placement | Prediction) -> list[tuple[str, str]]:
    """Islands and what crosses between them, as name and value; empty where nothing is told."""
    shapes = sum(1 for island in one.islands if island.shapes_only)
    islands = f"{len(one.islands):,}" + (f", of these {shapes:,} of shapes only" if shapes else "")
    return [
        ("islands", islands if one.islands else ""),
        ("crossing between providers", _crossing(one)),
        ("shape arithmetic on the CPU", count(one.shape_nodes, "node") if one.shape_nodes else ""),
    ]


def _island_block(islands: Sequence[Island]) -> Block:
    """Those that compute more than shapes; ones alike on one line."""
    alike = Counter(
        f"{short_name(island.provider)}, {count(_total(island.operators), 'node')}: "
        f"{_operators(island.operators)}"
        for island in islands
        if not island.shapes_only
    )
    items = [f"{f'{n} times ' if n > 1 else ''}{text}" for text, n in alike.items()]
    if len(items) > _MOST_ISLANDS:
        rest = sum(list(alike.values())[_MOST_ISLANDS:])
        items = [*items[:_MOST_ISLANDS], f"and {count(rest, 'smaller island')}"]
    return Block("Islands, the largest first", items=tuple(items))


def _total(counts: Mapping[str, int]) -> int:
    """Of all operators."""
    return sum(counts.values())


def _part_of(part: int, whole: int) -> str:
    """``12 of 338 nodes``."""
    return f"{part:,} of {count(whole, 'node')}"


def _filled(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Those that hold anything."""
    return tuple(
        one for one in blocks if one.text or one.chart or one.pairs or one.rows or one.items
    )


def _crossing(one: Placement | Prediction) -> str:
    if one.crossing_tensors is None:
        return ""
    told = count(one.crossing_tensors, "value")
    if one.crossing_bytes is not None and one.crossing_tensors > one.crossing_unsized:
        told += f", {amount(one.crossing_bytes, 'bytes')} a call"
    if one.crossing_unsized:
        told += f", {one.crossing_unsized:,} of unknown size"
    return told
