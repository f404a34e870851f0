"""SECURITY.md names tests that are there, and targets that make has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_target_that_is_named_is_there():
    targets = re.findall(r"`make ([\w-]+)", PAGE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert [name for name in targets if f"\n{name}:" not in makefile] == []


def test_every_promise_has_one():
    rows = re.findall(
        r"^\| (?!promise|moment|-)(.+?) \| (.+) \|$", PAGE.split("## Promises")[1], re.M
    )
    assert len(rows) > 8
    assert all("`" in tests for _, tests in rows)
