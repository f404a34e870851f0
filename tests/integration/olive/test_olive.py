"""The pass inside Olive, alone and between passes of Olive's own; ``make test-olive`` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("olive.passes", reason="make test-olive sets Olive up")

from exporters.options import cli_options
from lighttoken import olive
from toolkit.bundle.manifest import read_manifest, verify_files

ROOT = Path(__file__).parents[3]
IDS = np.arange(1, 13, dtype=np.int64).reshape(2, 6)


@pytest.fixture(scope="module")
def passes(tmp_path_factory):
    """Olive's file of passes with ours in it."""
    path = tmp_path_factory.mktemp("passes") / "passes.json"
    assert olive.main([str(path)]) == 0
    return path


@pytest.fixture
def run_olive(passes, tiny_folder, tmp_path):
    """``run_olive(**passes)``: a tiny encoder through them; the folder that comes out."""

    def run(**wanted):
        model = {"type": "HfModel", "model_path": str(tiny_folder("BertModel"))}
        config = {
            "input_model": model | {"task": "feature-extraction"},
            "passes": wanted,
            "output_dir": str(tmp_path / "out"),
            "cache_dir": str(tmp_path / "cache"),
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "olive", "run", "--config", "config.json",
             "--package-config", passes],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OLIVE_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return tmp_path / "out"

    return run


def states(path):
    """What a model makes of some ids, float32 [2, 6, d]."""
    session = onnxruntime.InferenceSession(str(path))
    feeds = {each.name: np.ones_like(IDS) for each in session.get_inputs()}
    return session.run(None, feeds | {"input_ids": IDS})[0]


def cosine(one, two):
    return float((one * two).sum() / np.sqrt((one * one).sum() * (two * two).sum()))


PACK = {"type": "LightToken", "ratio": 8, "effort": "fast"}
QUANTIZE = {"type": "OnnxDynamicQuantization"}
BLOCKS = {"type": "OnnxBlockWiseRtnQuantization"}
CONVERT = {"type": "OnnxConversion", "target_opset": 20}


def test_alone_it_makes_a_bundle(run_olive):
    folder = run_olive(pack=PACK)
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    assert manifest.footprint.ratio >= 8
    assert manifest.target == "cpu"


# Inlined, the Gather of packed bytes is rounded by OnnxBlockWiseRtnQuantization as if it were of
# floats, and onnxruntime refuses the model.
@pytest.mark.parametrize(
    ("decode", "quantize"), [("function", QUANTIZE), ("inline", QUANTIZE), ("function", BLOCKS)]
)
def test_passes_of_olive_take_what_it_makes(run_olive, decode, quantize):
    packed = run_olive(pack=PACK | {"decode": decode})
    before = states(packed / read_manifest(packed).model)
    after = run_olive(pack=PACK | {"decode": decode}, quantize=quantize)
    assert cosine(states(after / "model.onnx"), before) > 0.99


def test_it_takes_what_passes_of_olive_make(run_olive):
    before = states(run_olive(convert=CONVERT, quantize=QUANTIZE) / "model.onnx")
    packed = run_olive(convert=CONVERT, quantize=QUANTIZE, pack=PACK)
    assert read_manifest(packed).footprint.ratio >= 8
    assert cosine(states(packed / read_manifest(packed).model), before) > 0.8


def test_its_settings_are_the_options_of_an_export():
    from olive.hardware.accelerator import AcceleratorSpec

    spec = AcceleratorSpec("npu", "QNNExecutionProvider")
    settings = olive.LightToken._default_config(spec)
    assert set(settings) == {*cli_options(), "ratio", "max_bytes", "min_cosine"}
    assert settings["target"].default_value == "qnn"
    assert all(each.description for each in settings.values())


def test_the_file_of_passes_has_all_of_olives_own_and_replaces_nothing(passes, capsys):
    from olive.package_config import OlivePackageConfig

    own = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text())
    merged = json.loads(passes.read_text())
    assert set(merged["passes"]) == {*own["passes"], "LightToken"}
    assert {**merged, "passes": None} == {**own, "passes": None}
    assert olive.main([str(passes)]) == 2
    assert olive.main([]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") for line in errors)
