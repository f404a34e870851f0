"""The whole-model benchmark takes turns between a bundle and its original."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.ops.lookup import decode_model
from toolkit import Budget, LightTokenConfig, compress

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "model.py"


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def models(tmp_path):
    table = np.random.default_rng(0).normal(size=(1000, 48)).astype(np.float32)
    embedding = compress(table, Budget(ratio=6), config=LightTokenConfig(rounds=0))
    packed, original = tmp_path / "packed.onnx", tmp_path / "original.onnx"
    packed.write_bytes(decode_model(embedding).SerializeToString())
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        "g (int64[b, s] ids) => (float[b, s, 48] rows) { rows = Gather(table, ids) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    original.write_bytes(model.SerializeToString())
    return packed, original


def test_each_model_is_timed_by_the_original(models):
    done = run(*models, "--length", 5, "--runs", 3)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tokens"] == 5
    assert result["original"]["of_original"] == 1
    assert result["packed"]["median_ms"] > 0


def test_a_missing_model_is_one_line(tmp_path, models):
    done = run(models[0], tmp_path / "none.onnx")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
