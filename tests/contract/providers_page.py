"""Writes docs/providers.md from runtime/profile/predict/operators.py and advice_rules.py.

Example:
    python -m tests.contract.providers_page
"""

from pathlib import Path

from runtime.profile.placement.advice_rules import FREE, RULES, Rule
from runtime.profile.predict.operators import SUPPORT, Operator, Support
from toolkit.files import write_aside

FILE = Path(__file__).parents[2] / "docs" / "providers.md"

PAGE = """\
# What providers take

`lighttoken profile` tells which node ran on which provider, and what to change; for providers that
are not there it predicts from tables. Both stand in `runtime/profile/` (`op_support.py`,
`advice_rules.py`), and this page is written from there (`python -m
tests.contract.providers_page`; a test fails where they differ).

## Predicted

A prediction says which nodes a provider would take, by operator, element type and shape. Nothing
is run for it: a driver or a browser may refuse more.

{tables}

## Advice

What is said of nodes that stay on the CPU; the first line that fits a node is its own.

| provider | nodes | advice |
|---|---|---|
{rules}

Free shapes:

{free}
"""


def page() -> str:
    """The page's text."""
    return PAGE.format(
        tables="\n\n".join(_table(place, support) for place, support in SUPPORT.items()),
        rules="\n".join(map(_rule, RULES)),
        free="\n".join(
            f"- {_short(provider)}: {line.removeprefix('and ')}" for provider, line in FREE.items()
        ),
    )


def _table(place: str, support: Support) -> str:
    limits = [
        "shapes have to be fixed" if support.static else "",
        f"at most {support.rank} dimensions" if support.rank else "",
        f"none above {support.size:,}" if support.size else "",
        "" if support.external else "weights inside the file (onnxruntime's source as read)",
    ]
    groups: dict[str, list[str]] = {}
    for name, asked in support.operators.items():
        groups.setdefault(_asked(asked), []).append(name)
    return "\n".join(
        [
            f"### {place}",
            "",
            f"From {support.source}; read on {support.date}. "
            f"Asked of all: {', '.join(filter(None, limits))}.",
            "",
            "| operators | ask for |",
            "|---|---|",
            *(f"| {', '.join(names)} | {asked} |" for asked, names in groups.items()),
        ]
    )


def _asked(asked: Operator) -> str:
    words = [f"input 0: {_types(asked.types)}"] if asked.types else []
    words += [f"input {index}: {_types(types)}" for index, types in asked.others.items()]
    if asked.constants:
        words.append(f"constants: input {', '.join(map(str, asked.constants))}")
    if asked.to:
        words.append(f"to {_types(asked.to)}")
    words += [f"{name}: {' or '.join(map(str, v))}" for name, v in asked.attributes.items()]
    if asked.product:
        words.append("two matrices, the second constant, or two stacks alike")
    return "; ".join(words)


def _rule(rule: Rule) -> str:
    kept = [name for name in rule.operators if not name[-1].isdigit()]
    nodes = ", ".join(kept) or "others"
    if rule.types:
        nodes += f" of {_types(rule.types)}"
    if rule.reason:
        nodes += f", {rule.reason} the limit"
    providers = ", ".join(map(_short, rule.providers)) or "all"
    line = rule.line.format(count="n", operators="these")
    return f"| {providers} | {nodes} | {line} |"


def _types(types: frozenset[str]) -> str:
    return ", ".join(sorted(types))


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


if __name__ == "__main__":
    with write_aside(FILE) as aside:
        aside.write_text(page(), encoding="utf-8")
