"""The README's commands and programs run, in its own order, on the real model."""

import re
import shlex
from pathlib import Path

import pytest

from toolkit.cli.app import run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PAIRS = "A cat sleeps.,A kitten naps.,4.0\nStocks fell.,Rain fell.,1.0\nA cat.,A dog.,2.5\n"


def commands() -> list[str]:
    """Lines of console blocks that call ``lighttoken``."""
    lines = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ lighttoken ")]


def programs() -> list[str]:
    return [text for kind, text in BLOCKS if kind == "python"]


def test_readme_has_what_is_run_below():
    verbs = {shlex.split(line)[1] for line in commands()}
    assert {"demo", "export", "run", "evaluate", "profile", "inspect"} <= verbs
    assert len(programs()) == 3


def test_make_targets_exist():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.slow
def test_commands_and_programs_run(
    minilm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("stsb-en-dev.csv").write_text(PAIRS)
    for line in commands():
        arguments = shlex.split(line.replace(HUB_ID, str(minilm_folder)))[1:]
        if arguments[0] == "profile":
            arguments += ["--runs", "3", "--repeats", "1"]
        if arguments[0] != "demo":  # tests/toolkit/cli/test_demo.py
            assert run(arguments) == 0, line
    for program in programs():
        exec(compile(program.replace(HUB_ID, str(minilm_folder)), "README.md", "exec"), {})
