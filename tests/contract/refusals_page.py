"""Writes docs/refusals.md: every line that an export is refused with, as the code has it.

Example:
    python -m tests.contract.refusals_page
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from toolkit.files import write_aside

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "refusals.md"
PARTS = ("exporters", "toolkit/graph")
ERRORS = ("InputError", "BudgetError", "MissingDependencyError", "CheckError")
_REFUSE = "refuse"  # a method that raises InputError of a file beside the model

PAGE = """\
# What an export refuses

`lighttoken export` refuses in one line: what was wrong, what was seen, what to do. It then writes
nothing, and ends with code 2. These are all such lines in `exporters/` and `toolkit/graph/`, by the
module that has them; braces stand for what was seen. This page is written from the code (`python -m
tests.contract.refusals_page`; a test fails where they differ, or where a line does not say what to
do). Forms of look-ups that are refused stand in [coverage.md](coverage.md#forms-of-a-look-up).

What a line begins with:

- **input**: an option, a file or a model that cannot be used as given.
- **budget**: bytes that no packed table fits into.
- **missing**: a package that is not installed.
- **check**: the bundle was made, and is not what it should be; it is thrown away.

{modules}
"""
_KINDS = dict(zip(ERRORS, ("input", "budget", "missing", "check"), strict=True))


@dataclass(frozen=True)
class Refusal:
    """One line that an error is raised with.

    Attributes:
        module: path of its file in the repository.
        error: the error's class.
        text: the message, with braces for what it is filled with.
    """

    module: str
    error: str
    text: str

    @property
    def passes_on(self) -> bool:
        """Whether it says what another error says, which has its own line."""
        return re.search(r"(^|: )\{error\}", self.text) is not None or self.text in (
            "{told}",
            "{name} {why}",
        )


def refusals() -> list[Refusal]:
    """Every one of them, by module, in the code's order."""
    found: list[Refusal] = []
    for file in _files():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        module = file.relative_to(ROOT).as_posix()
        calls = sorted(_calls(tree), key=lambda call: (call[1].lineno, call[1].col_offset))
        found += [Refusal(module, error, _text(call.args, tree)) for error, call in calls]
    return found


def page() -> str:
    """The page's text."""
    by_module: dict[str, list[Refusal]] = {}
    for refusal in refusals():
        by_module.setdefault(refusal.module, []).append(refusal)
    return PAGE.format(modules="\n\n".join(_module(*pair) for pair in by_module.items()))


def _module(path: str, own: list[Refusal]) -> str:
    lines = [f"- **{_KINDS[each.error]}**: `{each.text.replace('`', chr(39))}`" for each in own]
    return f"## {path}\n\n{_about(path)}\n\n" + "\n".join(dict.fromkeys(lines))


def _about(path: str) -> str:
    """The first sentence or line of a module's docstring."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())


def _files() -> Iterator[Path]:
    for part in PARTS:
        yield from sorted((ROOT / part).rglob("*.py"))


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in ERRORS:
            yield called.id, node
        elif isinstance(called, ast.Attribute) and called.attr == _REFUSE:
            yield "InputError", node


def _text(args: list[ast.expr], tree: ast.AST) -> str:
    """The message of a call; that of ``refuse`` begins with the file's name."""
    return " ".join(_written(each, tree) for each in args)


def _written(value: ast.expr, tree: ast.AST) -> str:
    """An expression as a message shows it: literals as they are, names in braces."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(_written(each, tree) for each in value.values)
    if isinstance(value, ast.FormattedValue):
        return _written(value.value, tree)
    if isinstance(value, ast.Call):
        return _returned(value, tree) or f"{{{_name(value)}}}"
    if isinstance(value, ast.Name) and (known := _constant(value.id, tree)) is not None:
        return known
    return f"{{{_name(value)}}}"


def _returned(call: ast.Call, tree: ast.AST) -> str:
    """What a function of the module returns, where that is one text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.unparse(call.func) == node.name:
            returns = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
            if len(returns) == 1 and isinstance(returns[0], ast.JoinedStr):
                return _written(returns[0], tree)
    return ""


def _constant(name: str, tree: ast.AST) -> str | None:
    """The text of a module's constant, its own or one that it imports."""
    own = _constants(tree)
    return own[name] if name in own else _imported().get(name) if name.isupper() else None


@cache
def _imported() -> dict[str, str]:
    """Public constants of all modules."""
    found: dict[str, str] = {}
    for file in (*_files(), *sorted((ROOT / "toolkit" / "bundle").rglob("*.py"))):
        constants = _constants(ast.parse(file.read_text(encoding="utf-8")))
        found |= {name: text for name, text in constants.items() if not name.startswith("_")}
    return found


def _constants(tree: ast.AST) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        targets = [each.id for each in node.targets if isinstance(each, ast.Name)]
        if isinstance(node.value.value, str):
            found |= dict.fromkeys(targets, node.value.value)
    return found


def _name(value: ast.expr) -> str:
    """A short name of what a brace is filled with."""
    if isinstance(value, ast.Name):
        return value.id.strip("_").lower()
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_")
    if isinstance(value, ast.Subscript):
        return _name(value.value)
    if isinstance(value, ast.Call):
        inner = [each for each in value.args if not isinstance(each, ast.Constant)]
        return _name(inner[0]) if inner else _name(value.func)
    if isinstance(value, ast.BoolOp):
        return _name(value.values[0])
    if isinstance(value, ast.BinOp):
        return _name(value.right)
    return "..."


if __name__ == "__main__":
    with write_aside(FILE) as aside:
        aside.write_text(page(), encoding="utf-8")
