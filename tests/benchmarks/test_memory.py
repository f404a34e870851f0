"""The memory benchmark measures every layer, and sees a session that holds more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "memory.py"


def test_every_layer_is_measured(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32))
    command = [sys.executable, SCRIPT, path, "--quick", "--runs", "1", "--ratio", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert {row["layer"] for row in results} == {"look-up", "head"}
    assert "standard graph" in {row["by"] for row in results}
    for row in results:
        assert 0 < row["packed_bytes"] < 3000 * 64 * 4 / 7.9
        assert row["above_packed_bytes"] == row["held_bytes"] - row["packed_bytes"]
        assert row["held_bytes"] < 20e6


def test_a_dense_table_is_seen(tmp_path, monkeypatch):
    """What is measured grows by what a session holds."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import memory
    import onnx

    empty, dense = tmp_path / "empty.onnx", tmp_path / "dense.onnx"
    onnx.save(onnx.parser.parse_model(memory._EMPTY), empty)
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (int64[b, s] ids) => (float[b, s, 500] rows) '
        "{ rows = Gather(table, ids) }"
    )
    table = np.ones((20_000, 500), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    onnx.save(model, dense)
    nothing = memory.in_a_process(empty, empty, 20_000, op=False, runs=1)
    held = memory.in_a_process(dense, empty, 20_000, op=False, runs=1)
    assert held - nothing > 0.9 * table.nbytes
