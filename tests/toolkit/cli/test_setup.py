from dataclasses import replace

import pytest

from runtime.setup import VARIABLE, catalogue


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Nothing is set up; "qnn" takes no download and one file."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home"))
    runtime = replace(
        catalogue.FOREIGN["qnn"],
        fill=lambda folder: (folder / "whole").write_bytes(b"12345"),
        is_whole=lambda folder: (folder / "whole").exists(),
    )
    monkeypatch.setitem(catalogue.FOREIGN, "qnn", runtime)
    return tmp_path / "home"


def test_the_command_knows_every_runtime():
    from toolkit.cli import setup

    assert set(setup._NAMES) == set(catalogue.FOREIGN)


def test_lists_what_is_here_and_what_is_missing(lighttoken, place):
    outcome = lighttoken("setup")
    assert outcome.code == 0
    assert "to set up: lighttoken setup xnnpack qnn arm64 web" in outcome.out
    assert "about 231.00 MB" in outcome.out
    lighttoken("setup", "qnn")
    (place / "arm64").mkdir()
    (place / "arm64" / "half").write_bytes(b"1")
    listed = {row["name"]: row for row in lighttoken("setup", "--json").json["runtimes"]}
    assert (listed["qnn"]["here"], listed["qnn"]["bytes"]) == (True, 5)
    assert (listed["arm64"]["here"], listed["arm64"]["bytes"]) == (False, 1)
    assert "in part" in lighttoken("setup").out


def test_sets_up_and_removes(lighttoken, place):
    assert lighttoken("setup", "qnn").out == f"qnn is in {place / 'qnn'}\n"
    again = lighttoken("setup", "qnn", "--json").json["runtimes"]
    assert again == [{"name": "qnn", "path": str(place / "qnn"), "was_here": True}]
    assert lighttoken("setup", "--remove", "qnn").out == "qnn removed\n"
    assert lighttoken("setup", "--remove", "qnn").out == "qnn was not here\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "'nope' is not one of"),
        (["--remove"], "--remove needs the name of a runtime"),
    ],
)
def test_errors_are_one_line(lighttoken, arguments, message):
    outcome = lighttoken("setup", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_missing_program_is_one_line(lighttoken, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = lighttoken("setup", "web")
    assert (outcome.code, outcome.err) == (2, "error: npm is not here; install node 20 or newer\n")
