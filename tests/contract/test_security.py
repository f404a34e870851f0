"""SECURITY.md names tests that are there, and targets that make has."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

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


def test_the_oldest_libraries_check_names_of_external_files_too():
    first = {"onnx": "1.21", "onnx-ir": "0.2.1", "onnxruntime": "1.24"}  # as their changes say
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {one.name: one for one in map(Requirement, project["dependencies"])}
    for name, version in first.items():
        (floor,) = (one.version for one in needed[name].specifier if one.operator == ">=")
        assert Version(floor) >= Version(version)
