"""The benchmark of decoders runs what is here, and names what is not."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decoder_speed.py"
FEW = ("--no-int4", "--threads", 1, "--length", 3, "--tokens", 2, "--runs", 1, "--repeats", 2)


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ways_in_one_table(decoder_file, tmp_path):
    genai, gguf = tmp_path / "genai", tmp_path / "model.gguf"
    genai.mkdir()
    (genai / "model.onnx").write_bytes(decoder_file.read_bytes())
    gguf.touch()
    done = run(decoder_file, *FEW, "--genai", genai, "--gguf", gguf)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    by_name = {row[0].removeprefix("| "): row[1:] for row in rows}
    for name in ("LightToken, no kernel", "genai's graph, onnxruntime"):
        speed, first, memory, read, share = by_name[name]
        assert float(speed.split()[0]) > 0
        assert first.endswith(" ms")
        assert memory.endswith(" MB")
        assert read == "0.0 MB"  # 38.4 kB of a table, 256 bytes for each of four tokens and a half
        assert share.rstrip(" |").endswith("%")
    if find_spec("llama_cpp") is None:
        assert "Left out: llama.cpp (llama-cpp-python): not installed here" in done.stdout


def test_figures_as_json(decoder_file):
    done = run(decoder_file, *FEW, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    figures = found["figures"]["LightToken, no kernel"]
    assert len(figures["writing_3_tokens_s"]["values"]) == 2
    assert figures["writing_3_read_bytes"]["median"] == pytest.approx(300 * 128 + 4.5 * 256, abs=99)


def test_a_model_that_cannot_write_is_named(graph, tmp_path):
    table = np.ones((20, 4), np.float32)
    model = graph(
        "(int64[b,s] input_ids) => (float[b,s,4] y)", "y = Gather(table, input_ids)", table=table
    )
    ir.save(model, tmp_path / "encoder.onnx")
    done = run(tmp_path / "encoder.onnx", *FEW)
    assert "encoder.onnx is no decoder with a cache" in done.stdout
