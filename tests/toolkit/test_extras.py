import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from toolkit import extras
from toolkit.errors import MissingDependencyError

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_extra_brings_the_packages_that_it_is_asked_for():
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]

    def brings(extra):
        for line in declared[extra]:
            name, _, others = line.split(">")[0].partition("[")
            yield name
            for other in others.rstrip("]").split(",") if name == "lighttoken" else ():
                yield from brings(other)

    for extra, packages in extras.EXTRAS.items():
        brought = set(brings(extra))
        assert {extras._DISTRIBUTIONS.get(name, name) for name in packages} <= brought


def test_nothing_is_said_of_an_extra_that_is_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "EXTRAS", {"export": ("json", "sys")})
    extras.require("export")


@pytest.mark.parametrize(
    ("extra", "package", "name"),
    [
        ("export", "transformers", "transformers"),
        ("probe", "sklearn", "scikit-learn"),
        ("report", "jinja2", "jinja2"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, extra, package, name
):
    monkeypatch.setattr(
        extras, "find_spec", lambda each: None if each == package else find_spec("json")
    )
    with pytest.raises(MissingDependencyError) as caught:
        extras.require(extra)
    assert str(caught.value) == f"{name} is not installed; pip install 'lighttoken[{extra}]'"


def test_explains_failed_imports_of_extras_alone():
    line = extras.explain(ModuleNotFoundError("no", name="torch.onnx"))
    assert line == "torch is not installed; pip install 'lighttoken[export]'"
    assert extras.explain(ModuleNotFoundError("no", name="numpy")) is None
    assert extras.explain(ModuleNotFoundError("no")) is None


def test_the_command_line_explains_an_import_that_fails(capsys, monkeypatch, tmp_path):
    from toolkit.cli.app import run

    monkeypatch.setitem(sys.modules, "runtime", None)  # as if a verb came upon it late
    monkeypatch.setattr(extras, "EXTRAS", {"export": ("runtime",)})
    assert run(["run", str(tmp_path), "text"]) == 2
    expected = "error: runtime is not installed; pip install 'lighttoken[export]'\n"
    assert capsys.readouterr().err == expected
