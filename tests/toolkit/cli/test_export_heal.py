"""``export --heal`` and ``export --packed``: tables that were fitted to their model."""

import random
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from transformers import AutoModel

from toolkit import Budget, compress
from toolkit.bundle.manifest import read_manifest
from toolkit.files import user_cache
from toolkit.finetune import attach, detach


@pytest.fixture
def text(tmp_path: Path) -> Path:
    draw = random.Random(0)
    lines = [
        " ".join(f"word{int(np.exp(draw.uniform(0, 6.2)))}" for _ in range(draw.randint(3, 12)))
        for _ in range(300)
    ]
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join([*lines, "", "  "]), encoding="utf-8")
    return path


def outputs(bundle: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    ids = np.arange(5, 69, dtype=np.int64).reshape(4, 16)
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    names = {each.name for each in session.get_inputs()}
    return session.run(None, {name: feeds[name] for name in names & feeds.keys()})[0]


def test_healed_bundle_is_closer_and_no_larger(lighttoken, tiny_model: Path, tmp_path, text):
    common = ("export", tiny_model)
    plain = lighttoken(*common, tmp_path / "plain", "--ratio", 12, "--json").json
    outcome = lighttoken(
        *common, tmp_path / "healed", "--ratio", 12, "--heal", text, "--heal-steps", 20, "--json"
    )
    assert outcome.code == 0
    healed = outcome.json["healed"]
    assert healed["texts"] == 300  # blank lines are none
    assert healed["after"] < healed["before"]
    assert outcome.json["ratio"] >= 12  # the layout is another one, within the same budget
    assert outcome.json["dense_bytes"] == plain["dense_bytes"]
    manifest = read_manifest(tmp_path / "healed")
    assert manifest.healed is not None
    assert manifest.healed.after == healed["after"]
    assert not np.array_equal(outputs(tmp_path / "plain"), outputs(tmp_path / "healed"))
    assert not list((user_cache() / "heal").iterdir())


@pytest.mark.parametrize("trained", ["norms", "body"])
@pytest.mark.parametrize("body", ["fp32", "int8"])
def test_the_model_around_the_table_can_be_trained_too(
    lighttoken, tiny_model: Path, tmp_path, text, trained, body
):
    common = ("export", tiny_model)
    options = ("--ratio", 12, "--heal", text, "--heal-steps", 40, "--weights", body, "--json")
    plain = lighttoken(*common, tmp_path / "plain", *options).json
    outcome = lighttoken(*common, tmp_path / "all", *options, "--heal-train", trained)
    assert outcome.code == 0
    assert outcome.json["healed"]["trained"] == trained
    assert outcome.json["healed"]["after"] < plain["healed"]["after"]
    assert outcome.json["compression_max_abs_error"] > 0  # to the original, not to what was trained
    assert outcome.json["ratio"] >= 12
    weights, before = (
        {
            each.name: np.array(each.const_value.numpy())
            for each in ir.load(tmp_path / name / "model.onnx").graph.initializers.values()
        }
        for name in ("all", "plain")
    )
    held = [sum(each.nbytes for each in every.values()) for every in (weights, before)]
    assert held[0] <= 1.05 * held[1]  # biases of a new model are all zeros, stored once
    vectors = {name for name, each in before.items() if "LayerNorm" in name and each.ndim == 1}
    assert vectors
    assert not any(np.array_equal(weights[name], before[name]) for name in vectors)
    config = (tmp_path / "all" / "config.json").read_bytes()
    assert config == (tmp_path / "plain" / "config.json").read_bytes()
    assert read_manifest(tmp_path / "all").source == read_manifest(tmp_path / "plain").source


def test_it_says_what_was_gained(lighttoken, tiny_model: Path, tmp_path, text):
    shown = lighttoken(
        "export", tiny_model, tmp_path / "out", "--ratio", 12, "--heal", text, "--heal-steps", 0
    ).out
    assert "healed on 300 texts" in shown


def test_trained_table_goes_into_a_bundle_as_it_is(lighttoken, tiny_model: Path, tmp_path):
    model = AutoModel.from_pretrained(tiny_model).eval()
    table = model.get_input_embeddings().weight.detach().numpy()
    packed = compress(table, Budget(ratio=8))
    layer = attach(model, packed)
    with torch.no_grad():
        layer.stages[0].decoder *= 1.25
    trained = layer.pack()
    trained.save(tmp_path / "table.lt")
    folder = tmp_path / "tuned"
    detach(model).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    outcome = lighttoken(
        "export", folder, tmp_path / "out", "--packed", tmp_path / "table.lt", "--json"
    )
    assert outcome.code == 0
    assert outcome.json["ratio"] == pytest.approx(trained.ratio, rel=0.1)
    # The folder holds what the trained layer stood for before it was rounded to int8 again.
    assert outcome.json["compression_max_abs_error"] < 0.05
    assert read_manifest(tmp_path / "out").method == "given"
    assert np.isfinite(outputs(tmp_path / "out")).all()


def test_given_table_must_be_the_models(fails, tiny_model: Path, tmp_path):
    table = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    compress(table, Budget(ratio=4)).save(tmp_path / "other.lt")
    line = fails("export", tiny_model, tmp_path / "out", "--packed", tmp_path / "other.lt")
    assert "100 x 32, the model's is 600 x 32" in line
    assert not (tmp_path / "out").exists()
    line = fails(
        "export", tiny_model, tmp_path / "out", "--packed", tmp_path / "other.lt", "--ratio", 9
    )
    assert "leave --ratio, --max-bytes, --min-cosine out" in line


def test_bad_texts_are_one_line(fails, tiny_model: Path, tmp_path, text):
    out = tmp_path / "out"
    assert "no.txt is not here" in fails("export", tiny_model, out, "--heal", tmp_path / "no.txt")
    short = tmp_path / "short.txt"
    short.write_text("word1 word2\nword3\n", encoding="utf-8")
    assert "too few" in fails("export", tiny_model, out, "--heal", short)
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    assert "no UTF-8" in fails("export", tiny_model, out, "--heal", binary)
    assert "at least 0" in fails("export", tiny_model, out, "--heal", text, "--heal-steps", -1)
    assert not out.exists()


def test_onnx_files_cannot_be_healed(lighttoken, fails, tiny_model: Path, tmp_path, text):
    from exporters.sources.source import load_source

    path = load_source(str(tiny_model), tmp_path / "work").path
    line = fails("export", path, tmp_path / "out", "--heal", text)
    assert "nothing can be trained in" in line
