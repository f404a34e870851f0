"""What a division of a graph among providers is told in: measured or predicted alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ...placement.cuts import Island
from ...placement.placement import Placement
from ...predict.predict import Prediction
from .words import amount, count, provider_name

_MOST_ISLANDS, _MOST_OPERATORS = 8, 8


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


def operators(counts: Mapping[str, int], most: int = _MOST_OPERATORS) -> str:
    """``MatMul 72, Add 40 and 12 more kinds``, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f"{name} {number}" for name, number in ranked[:most])
    rest = len(ranked) - most
    return f"{text} and {count(rest, 'more kind')}" if rest > 0 else text


def cut_facts(one: Placement | Prediction) -> list[tuple[str, str]]:
    """Islands and what crosses between them, as name and value; empty where nothing is told."""
    shapes = sum(1 for island in one.islands if island.shapes_only)
    islands = f"{len(one.islands):,}" + (f", of these {shapes:,} of shapes only" if shapes else "")
    return [
        ("islands", islands if one.islands else ""),
        ("crossing between providers", _crossing(one)),
        ("shape arithmetic on the CPU", count(one.shape_nodes, "node") if one.shape_nodes else ""),
    ]


def island_block(islands: Sequence[Island]) -> Block:
    """Those that compute more than shapes; ones alike on one line."""
    alike = Counter(
        f"{provider_name(island.provider)}, {count(total(island.operators), 'node')}: "
        f"{operators(island.operators)}"
        for island in islands
        if not island.shapes_only
    )
    items = [f"{f'{n} times ' if n > 1 else ''}{text}" for text, n in alike.items()]
    if len(items) > _MOST_ISLANDS:
        rest = sum(list(alike.values())[_MOST_ISLANDS:])
        items = [*items[:_MOST_ISLANDS], f"and {count(rest, 'smaller island')}"]
    return Block("Islands, the largest first", items=tuple(items))


def total(counts: Mapping[str, int]) -> int:
    """Of all operators."""
    return sum(counts.values())


def part_of(part: int, whole: int) -> str:
    """``12 of 338 nodes``."""
    return f"{part:,} of {count(whole, 'node')}"


def filled(blocks: Sequence[Block]) -> tuple[Block, ...]:
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
