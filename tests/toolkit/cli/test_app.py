import subprocess
import sys

import pytest

from toolkit.cli.app import _VERBS


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_has_help_with_an_example(lighttoken, verb: str):
    outcome = lighttoken(verb, "--help")
    assert outcome.code == 0
    assert "Example" in outcome.out
    assert f"lighttoken {verb}" in outcome.out
    if verb != "serve":  # which prints nothing but an address
        assert "--json" in outcome.out


def test_help_is_light():
    code = """
import sys
from toolkit.cli.app import run
run(["--help"])
heavy = {"torch", "onnxruntime", "transformers", "onnx"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout


def test_unknown_verb_and_unknown_option(fails):
    assert "frobnicate" in fails("frobnicate")
    assert "--colour" in fails("doctor", "--colour")


def test_a_bug_is_one_line_too(lighttoken, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("toolkit.cli.doctor._providers", broken)
    outcome = lighttoken("doctor")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "RuntimeError: first;" in outcome.err
    monkeypatch.setenv("LIGHTTOKEN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        lighttoken("doctor")


def test_version(lighttoken):
    assert lighttoken("--version").out.startswith("lighttoken, version 0.")


def test_the_page_of_the_command_line_is_what_the_code_says():
    from tests.contract.cli_page import FILE, page

    assert FILE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.cli_page"
