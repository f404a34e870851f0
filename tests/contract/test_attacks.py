"""Every attack of the list has tests that are there, and SECURITY.md says how many there are."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.run import BROKEN, HELD, NOT_RUN, Attack, Outcomes, read_attacks

ROOT = Path(__file__).parents[2]
ATTACKS = read_attacks()


@cache
def functions_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
def test_its_tests_are_there(attack):
    assert attack.tests
    for test in attack.tests:
        path, _, name = test.partition("::")
        assert name in functions_of(path), test
    assert attack.title.strip()
    assert attack.expected.strip()


def test_no_attack_is_there_twice():
    titles = [attack.title for attack in ATTACKS]
    assert len(set(titles)) == len(titles)


def test_the_page_says_how_many_there_are():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert re.search(rf"`make attacks` tries\s+{len(ATTACKS)}\s+attacks", page)


def outcomes(**by_name):
    found = Outcomes()
    for name, how in by_name.items():
        if how == "ran":
            found.ran[f"t.py::{name}"] += 1
        else:
            getattr(found, how)[f"t.py::{name}"] = "why"
    return found


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (outcomes(a="ran", b="ran"), HELD),
        (outcomes(a="ran", b="failed"), BROKEN),
        (outcomes(a="skipped", b="failed"), BROKEN),
        (outcomes(a="ran"), BROKEN),
        (outcomes(a="ran", b="skipped"), NOT_RUN),
    ],
)
def test_a_verdict_is_that_of_all_tests(found, verdict):
    attack = Attack("paths", "a", "b", ("t.py::a", "t.py::b"))
    assert found.verdict(attack)[0] == verdict
