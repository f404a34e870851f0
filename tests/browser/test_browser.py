"""Bundles run in a browser: onnxruntime-web in headless Chromium, on WASM and on WebGPU.

`make test-browser` installs what this needs; without it the tests say what is missing.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporters import ExportOptions, export
from runtime import open_session
from toolkit import Budget, LightTokenConfig

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "build" / "browser"


def browser():
    wanted = os.environ.get("CHROMIUM", "")
    found = (
        shutil.which(name) for name in (wanted, "chromium", "chromium-browser", "google-chrome")
    )
    return next((path for path in found if path), None)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("node") is None or not (MODULES / "node_modules" / "onnxruntime-web").is_dir(),
        reason="no node or no onnxruntime-web; make test-browser installs it",
    ),
    pytest.mark.skipif(browser() is None, reason="no Chromium; set CHROMIUM or install it"),
]


@pytest.fixture(scope="session")
def bundle(minilm_folder, tmp_path_factory):
    """``bundle(target, body)``: the real model, trained briefly: whether it runs is asked."""
    made = {}

    def make(target, body="fp32"):
        if (target, body) not in made:
            out = tmp_path_factory.mktemp("browser") / f"{target}-{body}"
            options = ExportOptions(
                target=target, body=body, config=LightTokenConfig(rounds=1), name="minilm"
            )
            export(str(minilm_folder), out, Budget(ratio=25), options=options)
            made[target, body] = out
        return made[target, body]

    return make


def run(folder, tmp_path, *, provider, threads=1, verbose=False):
    """Outputs in the browser, in onnxruntime here, and what the browser logged."""
    session = open_session(folder, op=False)
    ids = np.random.default_rng(0).integers(1000, 30000, (2, 24))
    feeds = {
        "input_ids": ids,
        "attention_mask": np.where(np.arange(24) < [[24], [17]], 1, 0),
        "token_type_ids": np.zeros_like(ids),
    }
    job = {
        "modules": str(MODULES),
        "browser": browser(),
        "bundle": str(folder),
        "model": session.manifest.model,
        "data": f"{session.manifest.model}.data",
        "provider": provider,
        "threads": threads,
        "verbose": verbose,
        "feeds": {
            info.name: {
                "type": info.dtype,
                "dims": list(ids.shape),
                "values": feeds[info.name].ravel().tolist(),
            }
            for info in session.inputs
        },
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    command = ["node", str(HERE / "run.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    values = {
        name: np.array(output["values"], np.float32).reshape(output["dims"])
        for name, output in found["outputs"].items()
    }
    return values, session.run(feeds), found["log"]


def assert_alike(values, wanted, limit):
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        assert np.abs(value - wanted[name]).max() <= limit * np.abs(wanted[name]).max()


@pytest.mark.parametrize("threads", [1, 2])
def test_wasm_gives_what_onnxruntime_gives(bundle, tmp_path, threads):
    values, wanted, _ = run(bundle("wasm"), tmp_path, provider="wasm", threads=threads)
    assert_alike(values, wanted, 1e-5)


def test_wasm_runs_an_int4_body(bundle, tmp_path):
    values, wanted, _ = run(bundle("wasm", "int4"), tmp_path, provider="wasm")
    assert_alike(values, wanted, 0.05)  # activations are rounded to eight bits on the way


def test_webgpu_gives_what_onnxruntime_gives(bundle, tmp_path):
    values, wanted, _ = run(bundle("webgpu"), tmp_path, provider="webgpu")
    assert_alike(values, wanted, 1e-5)


def test_webgpu_runs_an_int4_body(bundle, tmp_path):
    values, wanted, _ = run(bundle("webgpu", "int4"), tmp_path, provider="webgpu")
    assert_alike(values, wanted, 0.05)


def test_webgpu_decodes_on_the_gpu(bundle, tmp_path):
    log = run(bundle("webgpu"), tmp_path, provider="webgpu", verbose=True)[2]
    placed: dict[str, set[str]] = {}
    provider = ""
    for line in log:
        if "placed on [" in line:
            provider = line.split("placed on [")[1].split("]")[0]
        elif provider and line.rstrip().endswith(")") and "VerifyEachNode" in line:
            placed.setdefault(provider, set()).add(line.split("]")[-1].split()[0])
    on_gpu, on_cpu = placed["WebGpuExecutionProvider"], placed["CPUExecutionProvider"]
    assert {"Gather", "MatMul", "Where"} <= on_gpu
    # What is left to the CPU computes shapes.
    assert not {"MatMul", "MatMulInteger", "Where", "Mul", "Add", "Sub"} & on_cpu
