"""The footprint benchmark prints a table of each place and keeps every figure."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.profile.report.report import MEASURED, Measurement, Statistic

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
    assert [row for row in rows if row in models] == models
    assert "memory after load, to the files' bytes" in rows
    assert rows[-1] == "4 tokens, to fp32's"
    assert all("MB" in line for line in lines if line.startswith("| LightToken"))
    report = json.loads(data.read_text())
    assert [one["status"] for one in report["measurements"]] == ["measured"] * 7
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_ratios_are_to_the_files_and_to_fp32():
    spec = importlib.util.spec_from_file_location("footprint", SCRIPT)
    footprint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(footprint)

    def measured(subject, **figures):
        figures = {name: Statistic.of([value]) for name, value in figures.items()}
        return Measurement(subject, "cpu", MEASURED, figures=figures)

    small = {"disk_bytes": 8e6, "load_rss_bytes": 10e6, "load_own_bytes": 9e6}
    large = {"disk_bytes": 90e6, "load_rss_bytes": 100e6, "load_own_bytes": 95e6}
    ours = measured("LightToken, int4", **small, latency_1x128_p50_ms=30.0)
    fp32 = measured("fp32.onnx", **large, latency_1x128_p50_ms=40.0)
    lines = footprint.ratios(SimpleNamespace(measurements=(ours, fp32))).splitlines()
    assert lines[0] == "| | LightToken, int4 |"
    assert dict(line.strip("| ").split(" | ") for line in lines[2:]) == {
        "memory after load, to the files' bytes": "1.25",
        "the same without pages of libraries' code": "1.12",
        "memory after load, to fp32's": "0.10",
        "128 tokens, to fp32's": "0.75",
    }
    assert footprint.ratios(SimpleNamespace(measurements=(fp32,))) == ""


def test_a_missing_model_is_one_line(tmp_path):
    done = run(tmp_path / "none", "--place", "cpu")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
