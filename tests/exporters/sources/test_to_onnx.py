"""Architectures export, and the graph gives what torch gives at sizes that were not traced."""

import json

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from exporters.sources import to_onnx as backends
from exporters.sources.facts import read_facts
from exporters.sources.to_onnx import export_onnx, has_optimum
from toolkit.errors import InputError, MissingDependencyError
from toolkit.graph.tables import find_token_table

# -> whether an output head shares the token table. test_coverage.py has every family.
ARCHITECTURES = {
    "BertModel": False,
    "BertForPreTraining": False,  # exported without its heads
    "BertForSequenceClassification": False,
    "BertForTokenClassification": False,
    "GPT2LMHeadModel": True,
    "LlamaForCausalLM": False,
}
OPTIMUM = ["BertModel", "BertForTokenClassification", "GPT2LMHeadModel"]
OUTPUTS = {"feature-extraction": "last_hidden_state"}

needs_optimum = pytest.mark.skipif(not has_optimum(), reason="needs optimum")


def batch(inputs):
    """Three texts of different lengths, padded on the right."""
    ids = np.random.default_rng(0).integers(5, 300, (3, 17))
    mask = (np.arange(17) < np.array([[17], [9], [4]])).astype(np.int64)
    feeds = {
        "input_ids": np.where(mask, ids, 1),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.tile(np.arange(17), (3, 1)),
    }
    return {name: feeds[name] for name in inputs}


def assert_as_torch(path, model, output):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = batch([entry.name for entry in session.get_inputs()])
    (got,) = session.run([output], feeds)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        wanted = model(**tensors, return_dict=True)[output].numpy()
    # What a model makes of padding is its own affair.
    kept = feeds["attention_mask"].astype(bool) if got.ndim == 3 else ...
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got[kept], wanted[kept], atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dynamo_exports_what_torch_computes(tiny_model, tiny_folder, tmp_path, architecture):
    folder = tiny_folder(architecture)
    facts = read_facts(folder)
    path, used = export_onnx(folder, facts, tmp_path, "dynamo")
    assert used == "dynamo"
    model = tiny_model(architecture)
    if architecture.endswith("ForPreTraining"):
        model = model.base_model
    assert_as_torch(path, model, OUTPUTS.get(facts.task, "logits"))
    table = find_token_table(ir.load(path).graph)
    assert (table.rows, bool(table.others)) == (300, ARCHITECTURES[architecture])


@needs_optimum
@pytest.mark.parametrize("architecture", OPTIMUM)
def test_optimum_exports_what_torch_computes(tiny_model, tiny_folder, tmp_path, architecture):
    folder = tiny_folder(architecture)
    facts = read_facts(folder)
    path, used = export_onnx(folder, facts, tmp_path, "optimum")
    assert used == "optimum"
    assert_as_torch(path, tiny_model(architecture), OUTPUTS.get(facts.task, "logits"))
    assert find_token_table(ir.load(path).graph).rows == 300


@pytest.fixture
def failing_dynamo(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("first line\nsecond line") from ValueError("the root\nof it")

    monkeypatch.setattr("exporters.sources.dynamo.export", fail)


@pytest.fixture
def without_optimum(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: not name.startswith("optimum"))


@needs_optimum
@pytest.mark.usefixtures("failing_dynamo")
def test_optimum_takes_over_where_dynamo_fails(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    path, used = export_onnx(folder, read_facts(folder), tmp_path, "auto")
    assert used == "optimum"
    assert find_token_table(ir.load(path).graph).rows == 300


@pytest.mark.usefixtures("failing_dynamo")
def test_a_forced_dynamo_that_fails_says_why_in_one_line(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    with pytest.raises(
        InputError, match=r"cannot take BertModel \(ValueError: the root\)"
    ) as error:
        export_onnx(folder, read_facts(folder), tmp_path, "dynamo")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("failing_dynamo", "without_optimum")
@pytest.mark.parametrize("exporter", ["auto", "dynamo"])
def test_without_optimum_the_other_way_is_named(tiny_folder, tmp_path, exporter):
    folder = tiny_folder("BertModel")
    with pytest.raises(InputError, match=r"pip install 'lighttoken\[optimum\]' for another way"):
        export_onnx(folder, read_facts(folder), tmp_path, exporter)


@pytest.mark.usefixtures("without_optimum")
def test_a_forced_optimum_that_is_missing_says_how_to_get_it(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    with pytest.raises(MissingDependencyError, match=r"pip install 'lighttoken\[optimum\]'"):
        export_onnx(folder, read_facts(folder), tmp_path, "optimum")


def test_an_unknown_exporter_is_refused(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    with pytest.raises(InputError, match="'tracer' is unknown; choose from auto, dynamo, optimum"):
        export_onnx(folder, read_facts(folder), tmp_path, "tracer")


def test_a_cache_is_for_decoders(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    with pytest.raises(InputError, match=r"for decoders .* BertModel is for feature-extraction"):
        export_onnx(folder, read_facts(folder), tmp_path, "auto", with_past=True)


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "GPT2LMHeadModel", "Gemma3ForCausalLM"]
)
@pytest.mark.usefixtures("without_optimum")
def test_a_cache_gives_what_the_whole_text_gives(tiny_folder, tiny_model, tmp_path, architecture):
    """Step by step, several texts at once, with steps of one token and of more."""
    folder = tiny_folder(architecture)
    path, used = export_onnx(folder, read_facts(folder), tmp_path, "auto", with_past=True)
    assert used == "dynamo"
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    assert names[:3] == ["input_ids", "attention_mask", "position_ids"]
    assert names[3:5] == ["past_key_values.0.key", "past_key_values.0.value"]
    outputs = [value.name for value in session.get_outputs()]
    assert outputs[:3] == ["logits", "present.0.key", "present.0.value"]
    assert session.get_inputs()[1].shape == [
        "batch_size",
        "past_sequence_length + sequence_length",
    ]
    model = tiny_model(architecture)
    ids = torch.arange(36).reshape(3, 12) % model.get_input_embeddings().weight.shape[0]
    with torch.no_grad():
        wanted = model(input_ids=ids, use_cache=False).logits.numpy()
    shape = session.get_inputs()[3].shape
    past = {name: np.zeros((3, shape[1], 0, shape[3]), np.float32) for name in names[3:]}
    given = []
    for start, stop in ((0, 7), (7, 8), (8, 9), (9, 12)):
        positions = np.broadcast_to(np.arange(start, stop), (3, stop - start))
        feeds = {
            "input_ids": ids[:, start:stop].numpy(),
            "attention_mask": np.ones((3, stop), np.int64),
            "position_ids": np.ascontiguousarray(positions),
        }
        found = dict(zip(outputs, session.run(None, feeds | past), strict=True))
        given.append(found.pop("logits"))
        past = {name.replace("present", "past_key_values"): v for name, v in found.items()}
    assert np.allclose(np.concatenate(given, axis=1), wanted, atol=1e-5)


@pytest.mark.usefixtures("without_optimum")
def test_a_model_that_keeps_no_keys_and_values_has_no_cache(tiny_folder, tmp_path):
    folder = tiny_folder("MambaForCausalLM")
    with pytest.raises(InputError, match="keeps no keys and values of each token"):
        export_onnx(folder, read_facts(folder), tmp_path, "auto", with_past=True)


def test_an_interrupt_is_not_taken_for_a_failed_export(tiny_folder, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("exporters.sources.dynamo.export", interrupt)
    folder = tiny_folder("BertModel")
    with pytest.raises(KeyboardInterrupt):
        export_onnx(folder, read_facts(folder), tmp_path, "auto")


def test_exporting_is_silent_and_leaves_no_traces_in_the_nodes(tiny_folder, tmp_path, capfd):
    folder = tiny_folder("DistilBertModel")
    capfd.readouterr()  # saving it may say something
    path, _ = export_onnx(folder, read_facts(folder), tmp_path, "dynamo")
    assert capfd.readouterr() == ("", "")
    model = ir.load(path)
    assert all(not node.metadata_props and not node.doc_string for node in model.graph)
    shapes = [[str(dim) for dim in value.shape] for value in model.graph.inputs]
    assert shapes == [["batch", "sequence"]] * 2
    assert [str(dim) for dim in model.graph.outputs[0].shape] == ["batch", "sequence", "32"]


@pytest.mark.parametrize(("types", "kept"), [(2, True), (1, False)])
def test_token_types_stay_where_no_tokenizer_can_be_loaded(tiny_model, tmp_path, types, kept):
    folder = tmp_path / "model"
    tiny_model("BertForSequenceClassification", type_vocab_size=types).save_pretrained(folder)
    described = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]")
    path, _ = export_onnx(folder, read_facts(folder), tmp_path / "out", "dynamo")
    names = [value.name for value in ir.load(path).graph.inputs]
    assert ("token_type_ids" in names) == kept
