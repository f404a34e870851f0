"""The footprint benchmark prints a table of each place and keeps every figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "footprint.py"


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_table_a_place(minilm_folder, tmp_path):
    data, page = tmp_path / "f.json", tmp_path / "f.html"
    few = ("--length", 4, "--runs", 1, "--repeats", 1)
    done = run(minilm_folder, "--place", "cpu", *few, "--json", data, "--report", page)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("**cpu**: onnxruntime")
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    models = ["LightToken, int4", "LightToken, int8", "LightToken, fp32", "fp32", "int8", "int4"]
    assert rows[-6:] == models
    assert all("MB" in line for line in lines if line.startswith("| LightToken"))
    report = json.loads(data.read_text())
    assert [one["status"] for one in report["measurements"]] == ["measured"] * 6
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_missing_model_is_one_line(tmp_path):
    done = run(tmp_path / "none", "--place", "cpu")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
