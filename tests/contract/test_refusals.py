"""docs/refusals.md is what the code says, and every line of it says what to do."""

import ast
import re

import pytest

from exporters.verify.check import OTHERWISE
from tests.contract.refusals_page import FILE, ROOT, Refusal, page, refusals

# Words that tell someone what to do, as they stand after what was wrong.
DO = (
    *("accept", "add", "check", "choose", "convert", "copy", "download", "drop", "export", "give"),
    *("heal", "install", "leave", "name", "pack", "pip", "read", "repair", "save", "say", "set"),
    *("try", "use"),
    *("{remedy}", "{instead}"),  # what callers hand over, see below
)
ALL = refusals()


def says_what_to_do(text: str) -> bool:
    """Whether one of these words is in a part after a semicolon, a colon or a comma; or a limit."""
    if " must be " in text:
        return True
    parts = re.split(r"[;:,] (?:or |and )?", text)[1:]
    return any(part.startswith(DO) or f" {word} " in part for part in parts for word in DO)


def test_the_page_is_what_the_code_says():
    assert FILE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.refusals_page"


def test_the_code_is_searched():
    modules = {each.module for each in ALL}
    assert {
        "exporters/options.py",
        "exporters/verify/check.py",
        "toolkit/graph/tables.py",
    } <= modules
    assert {each.error for each in ALL} > {"InputError", "BudgetError", "CheckError"}


@pytest.mark.parametrize("refusal", ALL, ids=lambda each: f"{each.module}-{each.text[:40]}")
def test_a_line_says_what_to_do(refusal: Refusal):
    assert refusal.passes_on or says_what_to_do(refusal.text), refusal.text
    assert not re.search(r"report (this|it|a bug)|please", refusal.text, re.IGNORECASE)
    assert "\n" not in refusal.text


@pytest.mark.parametrize("file", ["verify/check.py", "verify/heads.py", "sources/to_onnx.py"])
def test_what_is_handed_over_says_it_too(file: str):
    """The last argument of ``refuse`` and ``refuse_two``, and what stands for none."""
    tree = ast.parse((ROOT / "exporters" / file).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    made = [call for call in calls if ast.unparse(call.func) in ("refuse", "refuse_two")]
    texts = [
        each.value for call in made for each in call.args[2:] if isinstance(each, ast.Constant)
    ]
    assert texts
    assert all(says_what_to_do(f"; {text}") for text in [OTHERWISE, *texts])


def test_few_lines_pass_on_another_error():
    assert sum(each.passes_on for each in ALL) <= 9


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{path} is not here; give a file", True),
        ("{path} is not here", False),
        ("{path} is not here; it was moved", False),
        ("give a file", False),
    ],
)
def test_what_counts(text: str, right: bool):
    assert says_what_to_do(text) == right
