"""The options of ``export``, made of the fields of ``ExportOptions``."""

import subprocess
import sys
from dataclasses import fields

import click
import pytest

from exporters.bundle import structure
from exporters.options import STRUCTURES, ExportOptions, cli_options
from toolkit.bundle.manifest import TRAINED
from toolkit.cli.app import _VERBS
from toolkit.cli.derived import export_options
from toolkit.cli.export import command
from toolkit.errors import InputError

NO_OPTIONS = {"name", "config"}
ALIASES = {"--body": "weights", "--body-block": "group_size", "--layout": "structure"}


@click.command()
@export_options
def asked(**found: object) -> None:
    """What the options ask for, as the function's result."""
    asked.found = found  # type: ignore[attr-defined]


def read(*arguments: str) -> ExportOptions:
    asked.main(list(arguments), standalone_mode=False)
    return ExportOptions(**asked.found)


def test_each_field_is_an_option_or_known_not_to_be_one():
    names = {field.name for field in fields(ExportOptions)}
    assert {param.name for param in command.params} >= names - NO_OPTIONS
    assert set(cli_options()) == names - NO_OPTIONS


def test_without_options_the_defaults_are_those_of_python():
    assert read() == ExportOptions()


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--weights", "int4"], "weights", "int4"),
        (["--body", "int4"], "weights", "int4"),
        (["--group-size", "32"], "group_size", 32),
        (["--body-block", "32"], "group_size", 32),
        (["--structure", "transformers-js"], "structure", "transformers-js"),
        (["--layout", "transformers-js"], "structure", "transformers-js"),
        (["--heal-train", "weights"], "heal_train", "body"),
        (["--heal-train", "body"], "heal_train", "body"),
        (["--heal-train", "norms"], "heal_train", "norms"),
        (["--fuse"], "fuse", True),
        (["--no-fuse"], "fuse", False),
        (["--batch", "2", "--sequence", "8"], "sequence", 8),
        (["--all-tables"], "all_tables", True),
        (["--head", "dense"], "head", "dense"),
    ],
)
def test_values(arguments, field, value):
    found = getattr(read(*arguments), field)
    assert found == value
    assert type(found) is type(value)


def test_aliases_are_not_shown(lighttoken):
    shown = lighttoken("export", "--help").out
    for alias, field in ALIASES.items():
        assert f"--{field.replace('_', '-')} " in shown
        assert f"{alias} " not in shown
    assert "[table|norms|weights]" in shown


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--weights", "int3"), "'int3' is not one of 'fp32', 'fp16', 'int8', 'int4'"),
        (("--group-size", "48"), "'48' is not one of '16', '32', '64', '128', '256'"),
        (("--heal-train", "all"), "'all' is not one of 'table', 'norms', 'weights'"),
        (("--batch", "two"), "'two' is not a valid integer"),
    ],
)
def test_what_is_no_value_is_refused(fails, tmp_path, option, says):
    assert says in fails("export", tmp_path, tmp_path / "out", *option)


def test_python_is_as_strict():
    for name in ("weights", "group_size", "structure", "decode", "heal_train"):
        with pytest.raises(InputError, match=f"{name} 7 is unknown; choose from "):
            ExportOptions(**{name: 7})


def test_choices_are_those_that_there_are():
    assert set(STRUCTURES) == set(structure.STRUCTURES)
    assert ExportOptions(heal_train="weights").heal_train == TRAINED[-1] == "body"


@pytest.mark.parametrize("verb", _VERBS)
def test_help_of_a_verb_is_light(verb):
    code = f"""
import sys
from toolkit.cli.app import run
run([{verb!r}, "--help"])
heavy = {{"torch", "onnxruntime", "transformers", "onnx", "sklearn"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", ["import exporters.export", "import exporters.options", "pass"])
def test_export_is_the_function_whatever_was_imported_first(first):
    code = f"""
{first}
from exporters import export
import exporters
from exporters.export import export as same
assert export is same is exporters.export, (export, exporters.export)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
