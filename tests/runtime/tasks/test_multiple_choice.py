"""Choices by probability: hand-made numbers; and a model from its folder to the page."""

import json

import numpy as np
import pytest

from exporters import ExportOptions, export
from exporters.sources.to_onnx import has_optimum
from runtime.tasks.multiple_choice import MultipleChoice
from runtime.tasks.pipeline import open_pipeline
from toolkit import Budget, LightTokenConfig
from toolkit.cli.app import run
from toolkit.errors import InputError

TASK = "multiple-choice"
# The sum of the tokens' votes that a mask lets through.
GRAPH = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,n,s] input_ids, int64[b,n,s] attention_mask) => (float[b,n] logits)
    {
      votes = Gather(table, input_ids)
      last = Constant<value_ints = [-1]>()
      flat = Squeeze(votes, last)
      mask = CastLike(attention_mask, flat)
      kept = Mul(flat, mask)
      logits = ReduceSum<keepdims = 0>(kept, last)
    }"""


def bundle(folder, tiny, graph=GRAPH, **facts):
    """A bundle where red has 1 vote, sea 2, blue -5."""
    values = np.zeros((10, 1), np.float32)
    values[[0, 5, 8, 7], 0] = 1e6, 1, 2, -5
    return tiny.bundle(folder, TASK, values, graph=graph, **facts)


def test_the_likeliest_choice_comes_first(tmp_path, tiny):
    choose = open_pipeline(bundle(tmp_path / "b", tiny))
    assert isinstance(choose, MultipleChoice)
    found, other = choose([("sky", ["red", "blue", "red sea green"]), ("red", ["sea", "sky"])])
    assert [(c.text, c.place) for c in found] == [("red sea green", 2), ("red", 0), ("blue", 1)]
    powers = np.exp([3.0, 1, -5])
    np.testing.assert_allclose([c.score for c in found], powers / powers.sum())
    assert [c.text for c in other] == ["sea", "sky"]
    assert choose([]) == []


def test_sizes_that_a_graph_fixes(tmp_path, tiny):
    fixed = GRAPH.replace("[b,n,s]", "[2,2,6]").replace("[b,n]", "[2,2]")
    choose = open_pipeline(bundle(tmp_path / "b", tiny, fixed))
    (found,) = choose([("sky", ["red", "sea " * 9])])
    assert [c.place for c in found] == [1, 0]
    with pytest.raises(InputError, match="takes 2 choices, got 3; give 2"):
        choose([("sky", ["red", "sea", "sky"])])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sky", "'sky' is no prompt with choices"),
        (("sky", "red"), "the prompt 'sky' has 'red'; give two choices or more"),
        (("sky", ["red"]), "give two choices or more"),
        (("sky", ["red", 3]), "3 is no text"),
    ],
)
def test_what_is_no_prompt(tmp_path, tiny, given, message):
    choose = open_pipeline(bundle(tmp_path / "b", tiny))
    with pytest.raises(InputError, match=message):
        choose([given])


def test_other_graphs(tmp_path, tiny):
    graph = tiny.graphs["text-classification"]
    with pytest.raises(InputError, match=r"takes input_ids \['b', 's'\], and multiple-choice"):
        open_pipeline(bundle(tmp_path / "b", tiny, graph))


def test_the_command_line(tmp_path, tiny, capfd):
    path = str(bundle(tmp_path / "b", tiny))
    assert run(["run", path, "sky", "red", "red sea", "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert result["prompt"] == "sky"
    assert [(c["text"], c["place"]) for c in result["choices"]] == [("red sea", 1), ("red", 0)]
    assert run(["run", path, json.dumps({"prompt": "sky", "choices": ["red", "red sea"]})]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("(")] == ["(2)", "(1)"]
    assert run(["run", path, "sky"]) == 2
    assert 'is no prompt with its choices; give them, or {"prompt":' in capfd.readouterr().err


@pytest.mark.parametrize("exporter", ["dynamo", "optimum"])
def test_from_the_folder_to_the_choice(tiny_model, encoder_folder, tmp_path, exporter):
    import torch
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if exporter == "optimum" and not has_optimum():
        pytest.skip("needs optimum")
    folder = tmp_path / "chooser"
    model = tiny_model("BertForMultipleChoice", initializer_range=0.3)
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
    assert "pipeline_tag: multiple-choice" in card
    assert 'pipeline([["Ann is tired.", ["She goes to bed.", "She buys a ladder."]]])' in card

    choices = [f"word{i} word{i + 7}" * (1 + i % 2) for i in range(0, 55, 11)]
    original = tmp_path / "original" / "model.onnx"
    (found,) = open_pipeline(original, like=tmp_path / "bundle")([("word3", choices)])
    inputs = tokenizer(["word3"] * 5, choices, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(**{name: values[None] for name, values in inputs.items()}).logits[0]
    order = torch.argsort(-logits)
    assert [c.place for c in found] == order.tolist()
    np.testing.assert_allclose(
        [c.score for c in found], logits.softmax(-1)[order].numpy(), atol=1e-5
    )
    assert len(open_pipeline(tmp_path / "bundle")([("word3", choices)])[0]) == 5
