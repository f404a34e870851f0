"""``exporters -> toolkit <- runtime``: only ``toolkit/cli`` may join the packages; no circles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.import_chain import circles, longest_chain, name_of, read_graph, resolve

ROOT = Path(__file__).parents[2]
PACKAGES = ("toolkit", "exporters", "runtime", "lighttoken")
CLI = "toolkit.cli"
ALLOWED = {  # what a module of each package may import of the three
    CLI: {"toolkit", CLI, "exporters", "runtime"},
    "toolkit": {"toolkit"},
    "exporters": {"exporters", "toolkit"},
    "runtime": {"runtime", "toolkit"},
    "lighttoken": {"lighttoken", CLI, "toolkit", "exporters", "runtime"},  # their names, outside
}


def part_of(module: str) -> str:
    """``toolkit.cli`` for the command line (`python -m toolkit` too), else the top package."""
    is_cli = module == "toolkit.__main__" or f"{module}.".startswith(f"{CLI}.")
    return CLI if is_cli else module.split(".")[0]


def imported_modules(source: str, module: str, *, is_package: bool) -> set[str]:
    """Every module that ``source`` imports anywhere in it, names written out in full."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve(node, module, is_package=is_package)
            # `from toolkit import cli` names a module too.
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return found


def offences(root: Path) -> list[str]:
    """«module imports module» for every import that crosses a border."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            module = name_of(path, root)
            imports = imported_modules(
                path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py"
            )
            found += [
                f"{module} imports {name}"
                for name in sorted(imports)
                if part_of(name) in ALLOWED and part_of(name) not in ALLOWED[part_of(module)]
            ]
    return found


def test_no_module_imports_across_a_border():
    assert offences(ROOT) == []


def test_what_builds_the_wheel_needs_the_standard_library_alone():
    """pip builds it in an environment of hatchling and nothing else; hatch_build.py loads this."""
    module = "runtime.custom_op.build"
    source = (ROOT / "runtime" / "custom_op" / "build.py").read_text(encoding="utf-8")
    imports = imported_modules(source, module, is_package=False)
    assert {name.split(".")[0] for name in imports} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("where", "source", "offence"),
    [
        ("toolkit/store.py", "import exporters.find", "toolkit.store imports exporters.find"),
        ("toolkit/store.py", "from runtime import x", "toolkit.store imports runtime"),
        ("toolkit/store.py", "from . import cli", "toolkit.store imports toolkit.cli"),
        ("toolkit/__init__.py", "from .cli import main", "toolkit imports toolkit.cli"),
        ("exporters/a.py", "def f():\n    import runtime", "exporters.a imports runtime"),
        ("exporters/a.py", "from toolkit.cli import x", "exporters.a imports toolkit.cli"),
        ("runtime/a/b.py", "from exporters.x import y", "runtime.a.b imports exporters.x"),
        ("toolkit/a.py", "from lighttoken import x", "toolkit.a imports lighttoken"),
    ],
)
def test_the_checker_finds_an_offender(tmp_path, where, source, offence):
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert offence in offences(tmp_path)


@pytest.mark.parametrize(
    ("where", "source"),
    [
        (
            "toolkit/cli/main.py",
            "import exporters, runtime\nfrom .. import compress\nfrom . import x",
        ),
        ("exporters/a.py", "from toolkit import compress\nfrom .runtime import x\nimport onnx"),
        ("runtime/__init__.py", "from .pipeline import y\nimport toolkit.manifest"),
        ("toolkit/a.py", "import runtime_of_another\nfrom .exporters import z"),
    ],
)
def test_the_checker_lets_honest_imports_pass(tmp_path, where, source):
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert offences(tmp_path) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(read_graph()) == []


def write_modules(root, sources):
    for name, source in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_circles_are_found_and_chains_are_measured(tmp_path):
    lazy = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from . import c\n"
    write_modules(
        tmp_path,
        {
            "toolkit/__init__.py": "from .a import x",
            "toolkit/a.py": "import numpy\nfrom toolkit.inner import b",
            "toolkit/inner/b.py": lazy + "from .c import y",
            "toolkit/inner/c.py": "def f():\n    from ..a import x",
            "toolkit/inner/__init__.py": "",
        },
    )
    graph = read_graph(tmp_path)
    assert circles(graph) == []
    assert longest_chain(graph) == ["toolkit", "toolkit.a", "toolkit.inner.b", "toolkit.inner.c"]
    knot = ["toolkit.a", "toolkit.inner.b", "toolkit.inner.c"]
    assert circles(read_graph(tmp_path, functions=True)) == [knot]
    write_modules(
        tmp_path, {"toolkit/inner/c.py": "try:\n    from ..a import x\nfinally:\n    pass"}
    )
    assert circles(read_graph(tmp_path)) == [knot]


@pytest.mark.parametrize("heavy", ["torch", "onnxruntime", "onnx", "transformers"])
def test_importing_toolkit_stays_light(heavy):
    code = f"import sys, toolkit; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_scripts_and_tests_are_no_packages(folder):
    assert list((ROOT / folder).rglob("__init__.py")) == []
