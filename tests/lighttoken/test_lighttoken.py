"""``import lighttoken``: public names of the three packages, each where it is documented."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import onnxruntime
import pytest

import lighttoken
from runtime import native
from toolkit.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [name for name in lighttoken.__all__ if name != "__version__"])
def test_a_name_is_that_of_its_package(name):
    home = import_module(lighttoken._HOMES[name])
    assert getattr(lighttoken, name) is getattr(home, name)
    assert getattr(lighttoken, name).__doc__


def test_type_checkers_read_the_same_names_as_programs():
    tree = ast.parse((ROOT / "lighttoken" / "__init__.py").read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert homes == lighttoken._HOMES
    assert sorted({*homes, "__version__"}) == lighttoken.__all__ == dir(lighttoken)


def test_the_import_alone_loads_nothing_large():
    program = "import lighttoken, sys; print({'torch', 'onnxruntime', 'onnx'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_the_version_is_that_of_the_distribution():
    assert lighttoken.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'compresss'"):
        lighttoken.compresss  # noqa: B018


def test_the_kernel_is_where_onnxruntime_finds_it(library, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, str(library))
    path = lighttoken.get_library_path()
    onnxruntime.SessionOptions().register_custom_ops_library(path)
    assert isinstance(path, str)


def test_a_kernel_that_was_not_built_is_told_with_how_to(monkeypatch, tmp_path):
    monkeypatch.setenv(native.VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(InputError, match=r"none.so; build it with `lighttoken op`"):
        lighttoken.get_library_path()
