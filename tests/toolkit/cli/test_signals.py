"""Signals to real processes: every one ends in one line, with nothing left and nobody running."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

MAIN = "from toolkit.cli.app import main; main()"
# An exporter that leaves files in its temporary folder, starts a process, and never ends.
SLOW = """
import sys
from exporters.sources import apart
code = '''
import pathlib, subprocess, sys, tempfile, time
tempfile.mkdtemp()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(300)
'''
apart._COMMAND = (sys.executable, "-c", code, sys.argv.pop(1))
from toolkit.cli.app import main
main()
"""
ENDS = {
    signal.SIGINT: (2, "error: interrupted; nothing was written"),
    signal.SIGTERM: (143, "error: stopped; nothing was written"),
    signal.SIGHUP: (129, "error: stopped; nothing was written"),
}
each_signal = pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)


@pytest.fixture
def start(tmp_path: Path):
    """``start(code, ARGUMENTS)``: a process with a temporary folder and a cache of its own."""
    (tmp_path / "tmp").mkdir()
    started = []

    def call(code: str, *arguments: object) -> "subprocess.Popen[str]":
        folders = {"TMPDIR": tmp_path / "tmp", "XDG_CACHE_HOME": tmp_path / "cache"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | {name: str(path) for name, path in folders.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: "subprocess.Popen[str]", what) -> None:
    until = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)


def assert_ended(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """With its code, and its one line beside the empty one after a terminal's ^C."""
    told, err = process.communicate(timeout=120)
    code, line = ENDS[number]
    assert (process.returncode, err.strip(), told) == (code, line, "")


def names(folder: Path) -> list[str]:
    """Of what is in it; what others write there is left out: a cache, onnxruntime's ``.ses``."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("cache", ".ses"))


@each_signal
def test_a_signal_ends_the_exporters_process_too(start, tiny_model, tmp_path, number):
    process = start(SLOW, tmp_path / "pid", "export", tiny_model, tmp_path / "out", "--ratio", 5)
    wait_for(process, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    family = psutil.Process(process.pid).children(recursive=True)
    assert int((tmp_path / "pid").read_text()) in {one.pid for one in family}
    assert any(name.startswith(".out.") for name in names(tmp_path))
    assert names(tmp_path / "tmp")
    process.send_signal(number)
    process.send_signal(number)
    assert_ended(process, number)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert names(tmp_path) == ["pid", "tmp"]
    assert names(tmp_path / "tmp") == []


@each_signal
def test_a_signal_leaves_the_old_bundle(start, tiny_bundle, tiny_model, tmp_path, number):
    shutil.copytree(tiny_bundle, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    process = start(MAIN, "export", tiny_model, tmp_path / "out", "--ratio", 5, "--force")
    wait_for(process, lambda: any(name.startswith(".out.") for name in names(tmp_path)))
    process.send_signal(number)
    assert_ended(process, number)
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert names(tmp_path) == ["out", "tmp"]
    assert names(tmp_path / "tmp") == []


@each_signal
def test_a_signal_ends_compressing(start, tmp_path, number):
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(40_000, 128)))
    process = start(MAIN, "compress", tmp_path / "table.npy", tmp_path / "out", "--effort", "best")
    wait_for(process, lambda: psutil.Process(process.pid).cpu_times().user > 3)
    process.send_signal(number)
    assert_ended(process, number)
    assert names(tmp_path) == ["table.npy", "tmp"]
    assert names(tmp_path / "tmp") == []


@each_signal
def test_a_signal_ends_measuring(start, tiny_bundle, tmp_path, number):
    known = ("--against", tiny_bundle, "--length", 8, "--runs", 1_000_000)
    process = start(MAIN, "profile", tiny_bundle, *known)

    def measures():
        family = psutil.Process(process.pid).children(recursive=True)
        return any("runtime" in " ".join(one.cmdline()) or "-m" in one.cmdline() for one in family)

    wait_for(process, measures)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert_ended(process, number)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert names(tmp_path / "tmp") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_serving(start, tiny_bundle, number):
    process = start(MAIN, "serve", tiny_bundle, "--no-open", "--port", 0)
    process.stdout.readline()
    process.send_signal(number)
    told, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert told.endswith("ended\n")


def test_what_nohup_ignores_stays_ignored(start):
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {SENDS}"
    process = start(code, "doctor", "--json")
    assert process.wait(timeout=120) == 0


SENDS = """
import os, toolkit.cli.doctor as doctor
from toolkit.cli.app import main
real = doctor._providers
doctor._providers = lambda *given: (os.kill(os.getpid(), signal.SIGHUP), real(*given))[1]
main()
"""


def test_what_was_complete_is_told(tmp_path, monkeypatch, lighttoken):
    from runtime.setup import catalogue
    from toolkit import files
    from toolkit.signals import Stopped

    def set_up(name):
        if name == "web":
            raise Stopped(signal.SIGTERM)
        with files.folder_aside(tmp_path / name):
            pass
        return tmp_path / name

    monkeypatch.setattr(catalogue, "set_up", set_up)
    monkeypatch.setattr(catalogue, "is_here", lambda name: False)
    outcome = lighttoken("setup", "qnn", "web")
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.err == f"error: stopped; {tmp_path / 'qnn'} was complete before\n"
