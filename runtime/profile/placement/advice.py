"""Advice on nodes that a provider leaves to the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass

from .advice_rules import FREE, FREE_SHAPE, NO_CONSTANT, RULES, Rule


@dataclass(frozen=True)
class FallbackNode:
    """A node that a provider did not take.

    Attributes:
        types: element types of its inputs.
        reason: why the provider refuses it; known in predictions only.
    """

    operator: str
    types: tuple[str, ...] = ()
    reason: str = ""


def advise(
    provider: str,
    fallback: Sequence[FallbackNode],
    *,
    free_shapes: bool = False,
    external: bool = False,
) -> tuple[str, ...]:
    """Lines of advice, the one about most nodes first; () where there is none.

    Args:
        provider: onnxruntime's name of the provider that was asked for.
        fallback: the nodes that it did not take, without shape arithmetic.
        free_shapes: whether the graph has symbolic dimensions.
        external: whether weights lie in a file beside the model and this provider cannot read it.
    """
    lines = []
    if free_shapes and provider in FREE:
        lines.append(f"shapes are free, {FREE[provider]}")
    if external:
        lines.append(
            "weights lie in a file of their own, where this provider reads none: "
            "export with `--format ort`, which keeps them in the model"
        )
    about: dict[Rule | None, list[str]] = {}
    for node in fallback:
        if free_shapes and (node.reason == FREE_SHAPE or node.reason.endswith(NO_CONSTANT)):
            continue  # said above; other reasons show once the shapes are fixed
        about.setdefault(_rule(provider, node), []).append(node.operator)
    by_size = sorted(about.items(), key=lambda item: -len(item[1]))
    lines += [rule.line.format(**_words(names)) for rule, names in by_size if rule is not None]
    unknown = about.get(None)
    if unknown:
        words = _words(unknown)["operators"]
        lines.append(f"{words}: left to the CPU for a reason that LightToken has no advice for")
    return tuple(lines)


def _rule(provider: str, node: FallbackNode) -> Rule | None:
    for rule in RULES:
        if (
            (not rule.providers or provider in rule.providers)
            and (not rule.operators or node.operator in rule.operators)
            and (not rule.types or rule.types.intersection(node.types))
            and (not rule.reason or rule.reason in node.reason)
        ):
            return rule
    return None


_NAMED = 4  # operators; the others are only counted


def _words(operators: Sequence[str]) -> dict[str, str]:
    counts = {name: operators.count(name) for name in operators}
    by_size = sorted(counts.items(), key=lambda item: -item[1])
    words = [f"{count} {name}" for name, count in by_size[:_NAMED]]
    more = sum(count for _, count in by_size[_NAMED:])
    if more:
        words.append(f"{more} others")
    return {"count": str(len(operators)), "operators": ", ".join(words)}
