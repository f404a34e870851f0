"""What is said where something is missing. The node here only tells a version."""

import sys
from pathlib import Path

import pytest

from runtime.profile.browser import find_browser, missing, run_in_browser
from runtime.profile.measure.job import Job
from toolkit.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are sh scripts")


def program(path: Path, line: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One that has everything, in ``tmp_path``."""
    program(tmp_path / "bin" / "node", "echo v22.4.0")
    chromium = program(tmp_path / "bin" / "chromium")
    for name in ("onnxruntime-web", "playwright-core"):
        (tmp_path / "home" / "web" / "node_modules" / name).mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("LIGHTTOKEN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr("runtime.profile.browser._usual_places", list)
    assert missing() is None
    assert find_browser() == chromium
    return tmp_path


def refused():
    task = Job("time", "/nowhere/model.onnx", "wasm", ((1, 8),), 1, 0)
    with pytest.raises(InputError) as caught:
        run_in_browser(task, 5.0)
    assert str(caught.value) == missing()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_node(machine):
    (machine / "bin" / "node").unlink()
    assert "install node 20 or newer" in refused()


def test_an_old_node(machine):
    program(machine / "bin" / "node", "echo v18.19.1")
    assert "version 18" in refused()


def test_no_onnxruntime_web(machine):
    (machine / "home" / "web" / "node_modules" / "onnxruntime-web").rmdir()
    assert "onnxruntime-web is not here; run `lighttoken setup web`" in refused()


def test_no_browser(machine):
    (machine / "bin" / "chromium").unlink()
    assert "CHROMIUM" in refused()


def test_a_browser_that_is_named_wrongly(machine, monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/nowhere/chrome")
    assert "/nowhere/chrome" in refused()


def test_a_browser_that_is_named(machine, monkeypatch):
    other = program(machine / "other" / "brave")
    monkeypatch.setenv("CHROMIUM", str(other))
    assert find_browser() == other


def test_a_runner_that_dies(machine):
    program(
        machine / "bin" / "node",
        'case "$1" in --version) echo v22.4.0;; *) echo out of memory >&2; exit 3;; esac',
    )
    task = Job("time", "/nowhere/model.onnx", "wasm", ((1, 8),), 1, 0)
    with pytest.raises(InputError, match=r"status 3 \(out of memory\)"):
        run_in_browser(task, 5.0)
