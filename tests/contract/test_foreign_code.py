"""No library runs a model's own code, or asks a person whether to, unless the user said so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOADERS = ("from_pretrained", "from_config", "main_export")


def calls_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _LOADERS:
                yield node


@pytest.mark.parametrize("package", ["toolkit", "exporters", "runtime"])
def test_every_loader_is_told_whether_to_trust(package):
    silent = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for call in calls_of(path)
        if "trust_remote_code" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not silent, "transformers asks on standard input where trust_remote_code is not given"
