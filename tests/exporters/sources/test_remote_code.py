"""Python code of a model's repository runs where it is trusted, and nowhere else."""

import json
import sys

import numpy as np
import onnxruntime as ort
import pytest
import torch
import transformers
from transformers import dynamic_module_utils

from exporters.sources.source import load_source
from toolkit.errors import InputError

CONFIGURATION = """
from pathlib import Path
from transformers import BertConfig
Path({mark!r}).touch()
class OwnConfig(BertConfig):
    model_type = "own"
"""
MODELING = """
from transformers import BertModel
from .configuration_own import OwnConfig
class OwnModel(BertModel):
    config_class = OwnConfig
    def forward(self, input_ids=None, attention_mask=None, **settings):
        outputs = super().forward(input_ids, attention_mask, **settings)
        outputs["last_hidden_state"] = -outputs["last_hidden_state"]
        return outputs
"""
IDS = np.arange(10).reshape(2, 5)


@pytest.fixture
def folder(tiny_folder, tmp_path, monkeypatch):
    """A model whose class is not in transformers: BERT's states with the other sign."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    target = tmp_path / "own"
    target.mkdir()
    source = tiny_folder("BertModel")
    (target / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    (target / "configuration_own.py").write_text(CONFIGURATION.format(mark=str(tmp_path / "ran")))
    (target / "modeling_own.py").write_text(MODELING)
    change(target, json.loads((source / "config.json").read_text()))
    return target


def change(folder, config, **changes):
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    own = {"model_type": "own", "architectures": ["OwnModel"], "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config | own | changes))


def outputs(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    feeds["token_type_ids"] = np.zeros_like(IDS)
    return session.run(None, {entry.name: feeds[entry.name] for entry in session.get_inputs()})[0]


@pytest.mark.parametrize("exporter", ["auto", "dynamo", "optimum"])
def test_by_default_it_does_not_run(folder, tmp_path, exporter):
    with pytest.raises(InputError, match="--trust-remote-code would run that") as error:
        load_source(str(folder), tmp_path / "work", exporter=exporter)
    assert "own needs Python code of its own" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_class_that_transformers_has_not_counts_whatever_its_family(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    change(folder, config, model_type="bert")
    with pytest.raises(InputError, match="needs Python code of its own"):
        load_source(str(folder), tmp_path / "work")


def test_trusted_it_runs_and_is_what_is_exported(folder, tmp_path, tiny_folder):
    loaded = load_source(str(folder), tmp_path / "work", exporter="dynamo", trust_remote_code=True)
    assert (tmp_path / "ran").exists()
    plain = transformers.BertModel.from_pretrained(tiny_folder("BertModel"))
    with torch.no_grad():
        wanted = -plain(torch.tensor(IDS)).last_hidden_state.numpy()
    np.testing.assert_allclose(outputs(loaded.path), wanted, atol=1e-5)


def test_models_that_transformers_has_itself_need_no_trust(folder, tmp_path, tiny_folder):
    config = json.loads((folder / "config.json").read_text())
    change(folder, config, model_type="bert", architectures=["BertModel"])
    path = load_source(str(folder), tmp_path / "work", exporter="dynamo").path
    assert not (tmp_path / "ran").exists()
    plain = transformers.BertModel.from_pretrained(tiny_folder("BertModel"))
    with torch.no_grad():
        wanted = plain(torch.tensor(IDS)).last_hidden_state.numpy()
    np.testing.assert_allclose(outputs(path), wanted, atol=1e-5)


def test_an_onnx_file_runs_no_code(folder, tmp_path, exported):
    (folder / "model.safetensors").unlink()
    for name in ("model.onnx", "model.onnx.data"):
        (folder / name).write_bytes(exported.original.with_name(name).read_bytes())
    assert load_source(str(folder), tmp_path / "work").exporter == "none"
    assert not (tmp_path / "ran").exists()
