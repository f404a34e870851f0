"""Predictions, which are no measurements."""

from collections import Counter

from ...predict.predict import Prediction
from ..report import ProfileReport
from .blocks import Block, Partition, cut_facts, filled, island_block, operators, part_of, total
from .words import provider_name


def predictions(report: ProfileReport) -> list[Partition]:
    """In the order of the report."""
    return [
        Partition(
            one.place,
            one.subject,
            f"{part_of(total(one.taken), total(one.taken) + _refused(one))} taken",
            _blocks(one),
        )
        for one in report.predictions
    ]


def _blocks(one: Prediction) -> tuple[Block, ...]:
    facts = [
        ("provider", provider_name(one.provider)),
        ("source", one.source),
        ("of", one.date),
        *cut_facts(one),
    ]
    blocks = [
        Block("", text=f"{one.note[:1].upper()}{one.note[1:]}."),
        Block("What to change", items=one.advice),
        Block("", pairs=tuple((name, value) for name, value in facts if value)),
        Block("Would stay on the CPU, by reason", items=_reasons(one)),
        Block("Would be taken", text=operators(one.taken, most=40)),
        island_block(one.islands),
    ]
    return filled(blocks)


def _reasons(one: Prediction) -> tuple[str, ...]:
    reasons: dict[str, Counter[str]] = {}
    for refusal in one.refused:
        reasons.setdefault(refusal.reason, Counter())[refusal.operator] += refusal.count
    ranked = sorted(reasons.items(), key=lambda pair: -total(pair[1]))
    return tuple(f"{reason}: {operators(counts, most=40)}" for reason, counts in ranked)


def _refused(one: Prediction) -> int:
    return sum(refusal.count for refusal in one.refused) + one.shape_nodes
