"""What a model's folder says: task, pooling, length, files worth shipping."""

import json

import pytest

from exporters.sources.facts import read_facts
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """``folder(name=content)``: a model folder; objects become JSON."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path

    return write


def sentence_encoder(pooling, *more, path="1_Pooling"):
    """The files of a sentence-transformers folder."""
    kinds = {"": "Transformer", path: "Pooling"} | {f"{i}_{m}": m for i, m in enumerate(more, 2)}
    return {
        "config.json": {"architectures": ["BertModel"]},
        "modules.json": [
            {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{kind}"}
            for i, (p, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": pooling,
    }


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertModel", "feature-extraction"),
        ("BertForPreTraining", "feature-extraction"),
        ("RobertaForMaskedLM", "fill-mask"),
        ("DistilBertForSequenceClassification", "text-classification"),
        ("RobertaForQuestionAnswering", "question-answering"),
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
    ],
)
def test_the_architecture_names_the_task(folder, architecture, task):
    facts = read_facts(folder({"config.json": {"architectures": [architecture]}}))
    assert (facts.task, facts.architecture, facts.pooling) == (task, architecture, None)


@pytest.mark.parametrize("architecture", ["T5ForConditionalGeneration", "MarianMTModel"])
def test_an_encoder_decoder_makes_text_of_text(folder, architecture):
    config = {"architectures": [architecture], "is_encoder_decoder": True}
    assert read_facts(folder({"config.json": config})).task == "text2text-generation"


def test_other_conditional_generation_is_not_taken_for_it(folder):
    config = {"architectures": ["LlavaForConditionalGeneration"]}
    with pytest.raises(InputError, match="is not supported yet"):
        read_facts(folder({"config.json": config}))


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": []}])
def test_without_an_architecture_features_are_extracted(folder, config):
    facts = read_facts(folder({"config.json": config}))
    assert (facts.task, facts.architecture) == ("feature-extraction", None)


def test_an_empty_folder_has_no_facts(tmp_path):
    facts = read_facts(tmp_path)
    assert (facts.task, facts.max_length, facts.assets) == ("feature-extraction", None, ())


@pytest.mark.parametrize("architecture", ["T5ForConditionalGeneration", "BertForNothing"])
def test_an_unsupported_architecture_is_named(folder, architecture):
    with pytest.raises(InputError, match=f"architecture {architecture} is not supported") as error:
        read_facts(folder({"config.json": {"architectures": [architecture]}}))
    assert "\n" not in str(error.value)


def test_any_architecture_will_do_where_the_model_is_onnx_already(folder):
    config = {"architectures": ["T5ForConditionalGeneration"]}
    assert read_facts(folder({"config.json": config}), is_onnx=True).task == "feature-extraction"


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_pooling_is_read_from_its_module(folder, config, mode):
    facts = read_facts(folder(sentence_encoder(config)))
    assert facts.pooling == Pooling(mode, normalize=False)
    assert facts.task == "feature-extraction"
    assert "1_Pooling/config.json" in facts.assets


def test_a_normalize_module_is_seen(folder):
    facts = read_facts(folder(sentence_encoder({"pooling_mode": "mean"}, "Normalize")))
    assert facts.pooling == Pooling("mean", normalize=True)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pooling_mode_weightedmean_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
    ],
)
def test_pooling_of_another_kind_is_refused(folder, config):
    with pytest.raises(InputError, match=r"asks for pooling .* is supported") as error:
        read_facts(folder(sentence_encoder(config)))
    assert "\n" not in str(error.value)


def test_a_layer_after_pooling_is_refused_rather_than_dropped(folder):
    with pytest.raises(InputError, match="Dense") as error:
        read_facts(folder(sentence_encoder({"pooling_mode": "mean"}, "Dense")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../elsewhere"])
def test_a_pooling_module_outside_of_the_folder_is_refused(folder, path):
    with pytest.raises(InputError, match="leads out of its folder"):
        read_facts(folder(sentence_encoder({"pooling_mode": "mean"}, path=path)))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"sentence_bert_config.json": {"max_seq_length": 128}}, 128),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, None),
        ({"tokenizer_config.json": {"model_max_length": 512}}, 512),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, None),
        ({"config.json": {"max_position_embeddings": 300}}, 300),
        (
            {
                "sentence_bert_config.json": {"max_seq_length": 256},
                "tokenizer_config.json": {"model_max_length": 128},
                "config.json": {"max_position_embeddings": 512},
            },
            128,
        ),
    ],
)
def test_the_shortest_of_three_limits_counts(folder, files, limit):
    assert read_facts(folder(files)).max_length == limit


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet", "camembert"])
def test_positions_that_start_after_the_padding_are_not_counted(folder, kind):
    config = {"model_type": kind, "max_position_embeddings": 514, "pad_token_id": 1}
    assert read_facts(folder({"config.json": config})).max_length == 512


TOKENIZER = {"vocab.txt": "a", "special_tokens_map.json": {}, "tokenizer_config.json": {}}


def test_a_fast_tokenizer_travels_without_its_sources(folder):
    facts = read_facts(folder(TOKENIZER | {"tokenizer.json": {}, "config.json": {}}))
    assert set(facts.assets) == {
        "config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "tokenizer.json",
    }


def test_a_slow_tokenizer_travels_with_its_vocabulary(folder):
    facts = read_facts(folder(TOKENIZER | {"weights.bin": "x", "notes.txt": "x"}))
    assert set(facts.assets) == set(TOKENIZER)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("config.json", ""),
        ("tokenizer_config.json", "{]"),
        ("tokenizer_config.json", {"model_max_length": "long"}),
        ("sentence_bert_config.json", "null"),
        ("config.json", {"architectures": 3}),
        ("config.json", {"architectures": [3]}),
        ("modules.json", "{"),
        ("modules.json", "{}x"),
        ("modules.json", [{"path": "1_Pooling"}]),
        ("modules.json", [[]]),
        ("modules.json", "null"),
    ],
)
def test_damaged_files_are_named_in_one_line(folder, name, content):
    with pytest.raises(InputError, match=name) as error:
        read_facts(folder({name: content}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "modules.json"])
def test_files_that_are_no_text_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=name):
        read_facts(tmp_path)
