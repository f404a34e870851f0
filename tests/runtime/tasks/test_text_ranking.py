"""Passages in order: hand-made numbers; and a cross-encoder from its folder to the page."""

import json

import numpy as np
import pytest

from exporters import ExportOptions, export
from exporters.sources.to_onnx import has_optimum
from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.text_ranking import TextRanking
from toolkit import Budget, LightTokenConfig
from toolkit.cli.app import run
from toolkit.errors import InputError

TASK = "text-ranking"


@pytest.fixture
def bundle(tmp_path, tiny):
    """A bundle that sums votes: red 1, sea 2, blue -50."""
    values = np.zeros((10, 1), np.float32)
    values[[5, 8, 7], 0] = 1, 2, -50
    return tiny.bundle(tmp_path / "b", TASK, values, graph=tiny.graphs["text-classification"])


def test_the_best_passage_comes_first(bundle):
    rank = open_pipeline(bundle)
    assert isinstance(rank, TextRanking)
    found, other = rank([("sky", ["red", "blue", "red sea", "green"]), ("red", "sea")], 2)
    assert [(p.text, p.place) for p in found] == [
        ("red sea", 2),
        ("red", 0),
        ("green", 3),
        ("blue", 1),
    ]
    wanted = 1 / (1 + np.exp([-3.0, -1, 0, 50]))
    np.testing.assert_allclose([p.score for p in found], wanted, atol=1e-12)
    assert [(p.text, p.place) for p in other] == [("sea", 0)]


def test_equal_passages_keep_their_order_and_extremes_their_rank(bundle):
    (found,) = open_pipeline(bundle)([("sky", ["blue blue", "blue", "red", "red"])])
    assert [p.place for p in found] == [2, 3, 1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sky", "'sky' is no query with passages"),
        (("sky",), "no query with passages"),
        (("sky", []), "the query 'sky' has no passages"),
        (("sky", None), "the query 'sky' has no passages"),
        (("sky", [3]), "3 is no text"),
    ],
)
def test_what_is_no_query(bundle, given, message):
    with pytest.raises(InputError, match=message):
        open_pipeline(bundle)([given])


def test_a_graph_of_several_numbers_is_a_classifiers(tmp_path, tiny):
    graph = tiny.graphs["text-classification"].replace("[b,c]", "[b,3]")
    path = tiny.bundle(tmp_path / "b", TASK, tiny.table(3), graph=graph)
    with pytest.raises(InputError, match=r"gives 3 numbers a text.*task text-classification"):
        open_pipeline(path)


def test_the_command_line(bundle, capfd):
    assert run(["run", str(bundle), "sky", "red", "red sea", "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert result["query"] == "sky"
    assert [(p["text"], p["place"]) for p in result["passages"]] == [("red sea", 1), ("red", 0)]
    assert run(["run", str(bundle), "sky", "red", "red sea"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("(")] == ["(2)", "(1)"]
    both = [json.dumps({"query": "sky", "passages": ["red", word]}) for word in ("sea", "blue")]
    assert run(["run", str(bundle), *both, "--json"]) == 0
    results = json.loads(capfd.readouterr().out)
    assert [each["passages"][0]["text"] for each in results] == ["sea", "red"]


@pytest.mark.parametrize(
    "given",
    [
        ["sky"],
        ['{"query": "sky"}'],
        ['{"query": "sky", "passages": "red"}'],
        ["sky", '{"query": "sky", "passages": ["red"]}'],
    ],
)
def test_the_command_line_says_what_is_missing(bundle, capfd, given):
    assert run(["run", str(bundle), *given]) == 2
    error = capfd.readouterr().err
    assert 'is no query with its passages; give them, or {"query": "...", "passages":' in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("exporter", ["dynamo", "optimum"])
def test_from_the_folder_to_the_order(tiny_model, encoder_folder, tmp_path, exporter):
    import torch
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if exporter == "optimum" and not has_optimum():
        pytest.skip("needs optimum")
    folder = tmp_path / "reranker"
    model = tiny_model("BertForSequenceClassification", num_labels=1, initializer_range=0.5)
    model.save_pretrained(folder)
    library = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=library, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    )
    tokenizer.save_pretrained(folder)
    options = ExportOptions(config=LightTokenConfig(rounds=1), exporter=exporter)
    manifest = export(
        str(folder), tmp_path / "bundle", Budget(ratio=3), options=options, keep_original=tmp_path
    )
    assert manifest.task == TASK
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "pipeline_tag: text-ranking" in card
    assert 'pipeline([["Who sleeps?", "A cat sleeps by the river."]])' in card

    passages = [f"word{i} word{i + 7}" for i in range(0, 60, 10)]
    original = tmp_path / "original" / "model.onnx"
    (found,) = open_pipeline(original, like=tmp_path / "bundle")([("word3", passages)])
    inputs = tokenizer(["word3"] * 6, passages, return_tensors="pt", padding=True)
    with torch.no_grad():
        wanted = model(**inputs).logits[:, 0].numpy().astype(float)
    order = np.argsort(-wanted)
    assert [p.place for p in found] == order.tolist()
    shares = 1 / (1 + np.exp(-wanted[order]))
    np.testing.assert_allclose([p.score for p in found], shares, atol=1e-5)
