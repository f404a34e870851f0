"""``optimum-cli export lighttoken``, beside optimum's own commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optimum.commands.export.base")

from lighttoken.optimum_cli import with_source_first
from toolkit.bundle.manifest import read_manifest

ROOT = Path(__file__).parents[2]
PROGRAM = "from optimum.commands.optimum_cli import main; main()"


@pytest.fixture
def optimum_cli(tmp_path):
    """``optimum_cli(*words)``: the process when it has ended.

    Our installation has added the command, an editable one too.
    """

    def call(*words):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_optimum_lists_our_command_beside_its_own(optimum_cli):
    done = optimum_cli("export", "--help")
    assert done.returncode == 0, done.stderr
    assert "lighttoken" in done.stdout
    assert "onnx" in done.stdout


def test_its_help_is_ours(optimum_cli):
    done = optimum_cli("export", "lighttoken", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: optimum-cli export lighttoken [OPTIONS] SOURCE OUT" in done.stdout
    assert "--ratio" in done.stdout


def test_it_exports_as_we_do(optimum_cli, tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    done = optimum_cli("export", "lighttoken", "--ratio", "8", "--model", folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "out").footprint.ratio >= 8


def test_an_error_is_one_line(optimum_cli, tmp_path):
    done = optimum_cli("export", "lighttoken", "-m", tmp_path / "none", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["a", "b", "--ratio", "8"], ["a", "b", "--ratio", "8"]),
        (["--ratio", "8", "--model", "a", "b"], ["a", "--ratio", "8", "b"]),
        (["b", "-m", "a"], ["a", "b"]),
        (["--model=a", "b"], ["a", "b"]),
        (["b", "--model"], ["b"]),
        (["--models", "a"], ["--models", "a"]),
    ],
)
def test_the_model_is_the_source(words, wanted):
    assert with_source_first(words) == wanted
