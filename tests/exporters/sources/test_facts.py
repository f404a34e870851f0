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
        ("BertForTokenClassification", "token-classification"),
        ("BertForMultipleChoice", "multiple-choice"),
        ("RobertaForQuestionAnswering", "question-answering"),
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
    ],
)
def test_the_architecture_names_the_task(folder, architecture, task):
    facts = read_facts(folder({"config.json": {"architectures": [architecture]}}))
    assert (facts.task, facts.architecture, facts.pooling) == (task, architecture, None)


ONE = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
CROSS_ENCODER = {"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}


@pytest.mark.parametrize(
    ("config", "more", "task"),
    [
        ({}, {}, "text-ranking"),
        ({"problem_type": "regression"}, {}, "text-classification"),
        ({"id2label": {"0": "toxic"}}, {}, "text-classification"),
        ({"id2label": {"0": "a", "1": "b"}}, {}, "text-classification"),
        ({"id2label": {"0": "a", "1": "b"}}, CROSS_ENCODER, "text-classification"),
        ({"id2label": None}, {}, "text-classification"),
        ({"id2label": {"0": "toxic"}}, CROSS_ENCODER, "text-ranking"),
        ({"problem_type": "regression", "sentence_transformers": {}}, {}, "text-ranking"),
        ({"architectures": ["BertModel"]}, CROSS_ENCODER, "feature-extraction"),
    ],
)
def test_a_classifier_with_one_nameless_number_ranks(folder, config, more, task):
    assert read_facts(folder({"config.json": ONE | config} | more)).task == task


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
    ("config", "mode"),
    [
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls+mean"),
        ({"pooling_mode": ["lasttoken", "max"]}, "max+lasttoken"),
    ],
)
def test_other_modes_and_several(folder, config, mode):
    facts = read_facts(folder(sentence_encoder(config) | {"tokenizer.json": {}}))
    assert facts.pooling == Pooling(mode)
    assert facts.notes == ()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pooling_mode": "attention"},
        {"pooling_mode_attention": True, "pooling_mode_mean_tokens": True},
    ],
)
def test_pooling_of_another_kind_is_left_out_with_a_line(folder, config):
    facts = read_facts(folder(sentence_encoder(config) | {"tokenizer.json": {}}))
    assert (facts.pooling, facts.task) == (None, "feature-extraction")
    assert "1_Pooling/config.json" in facts.assets
    (note,) = facts.notes
    assert note.startswith("1_Pooling/config.json asks for pooling that is not known here")
    assert "\n" not in note


def test_a_layer_after_pooling_is_named_and_travels(folder):
    files = sentence_encoder({"pooling_mode": "mean"}, "Dense", "Normalize")
    files |= {"2_Dense/config.json": {"in_features": 3}, "2_Dense/model.safetensors": "weights"}
    facts = read_facts(folder(files | {"tokenizer.json": {}}))
    assert facts.pooling == Pooling("mean", normalize=True)
    assert facts.left_out == ("Dense",)
    assert {"2_Dense/config.json", "2_Dense/model.safetensors"} <= set(facts.assets)
    assert "modules.json asks for Dense" in facts.notes[0]


def late(**more):
    """The files of PyLate's folders."""
    files = sentence_encoder({}, path="1_Dense") | {"1_Dense/config.json": {"in_features": 3}}
    files["modules.json"][1]["type"] = "pylate.models.Dense.Dense"
    files["1_Dense/model.safetensors"] = "weights"
    told = {"similarity_fn_name": "MaxSim", "query_length": 8, "document_length": 20}
    return files | {"tokenizer.json": {}, "config_sentence_transformers.json": told} | more


def test_a_projection_of_tokens_makes_a_colbert_model(folder):
    facts = read_facts(folder(late(**{"sentence_bert_config.json": {"max_seq_length": 7}})))
    assert (facts.task, facts.pooling) == ("feature-extraction", Pooling("colbert", normalize=True))
    assert facts.keeps_token_vectors
    assert facts.projection == ("1_Dense",)
    assert {"1_Dense/config.json", "1_Dense/model.safetensors"} <= set(facts.assets)
    assert facts.notes == ()
    assert facts.max_length == 20  # whichever text was read last when it was saved


def test_a_colbert_model_is_cut_to_its_positions(folder):
    config = {"architectures": ["BertModel"], "max_position_embeddings": 16}
    assert read_facts(folder(late(**{"config.json": config}))).max_length == 16


@pytest.mark.parametrize("metadata", [{}, {"artifact.metadata": {"doc_maxlen": 220}}])
def test_a_colbert_model_of_its_first_authors(folder, metadata):
    config = {"architectures": ["HF_ColBERT"], "max_position_embeddings": 512}
    facts = read_facts(folder({"config.json": config, "tokenizer.json": {}} | metadata))
    assert (facts.task, facts.pooling) == ("feature-extraction", Pooling("colbert", normalize=True))
    assert facts.projection == ("",)
    assert facts.max_length == (220 if metadata else 180)
    assert set(metadata) <= set(facts.assets)


def test_a_file_whose_settings_alone_say_so(folder):
    told = {"query_length": 8, "document_length": 20, "query_prefix": "[Q] "}
    facts = read_facts(folder({"onnx_config.json": told, "tokenizer.json": {}}), is_onnx=True)
    assert (facts.keeps_token_vectors, facts.projection) == (True, ())
    assert "onnx_config.json" in facts.assets


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


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet", "camembert", "ibert", "luke"])
@pytest.mark.parametrize("padding", [{"pad_token_id": 1}, {"pad_token_id": None}, {}])
def test_positions_that_start_after_the_padding_are_not_counted(folder, kind, padding):
    config = {"model_type": kind, "max_position_embeddings": 514} | padding
    assert read_facts(folder({"config.json": config})).max_length == 512


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "gpt2", "n_positions": 64}, 64),
        ({"model_type": "led", "max_encoder_position_embeddings": 70}, 70),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "clip", "text_config": {"max_position_embeddings": 77}}, 77),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
    ],
)
def test_families_call_their_limit_by_other_names(folder, config, limit):
    assert read_facts(folder({"config.json": config})).max_length == limit


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
    "names",
    [
        ("spm.model",),
        ("spiece.model", "tokenizer_config.json"),
        ("source.spm", "target.spm", "vocab.json"),
        ("vocab.txt", "bpe.codes"),
        ("qwen.tiktoken",),
        ("vocab.txt",),
        ("vocab-src.json", "vocab-tgt.json", "merges.txt"),
        ("tokenizer.json", "source.spm", "target.spm", "vocab.json"),  # no fast form is known
    ],
)
def test_tokenizers_of_every_family_travel(folder, names):
    facts = read_facts(folder({name: {} for name in names}))
    assert sorted(facts.assets) == sorted(names)
    assert facts.notes == ()


def test_a_folder_without_tokenizer_says_so(folder):
    (note,) = read_facts(folder({"config.json": {}})).notes
    assert note.startswith("no tokenizer file is beside the model")


DAMAGED = [
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
]


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_damaged_files_are_named_in_one_line(folder, name, content):
    with pytest.raises(InputError, match=name) as error:
        read_facts(folder({name: content}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "modules.json"])
def test_files_that_are_no_text_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=name):
        read_facts(tmp_path)


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_beside_an_onnx_file_they_are_left_out_with_a_line(folder, name, content):
    path = folder({"tokenizer.json": {}, name: content})
    facts = read_facts(path, is_onnx=True)
    assert (facts.task, facts.pooling, facts.max_length) == ("feature-extraction", None, None)
    assert facts.assets == ("tokenizer.json",)
    (note,) = facts.notes
    assert note.startswith(f"{name} beside the model")
    assert str(path) not in note
    assert "\n" not in note


def test_the_config_of_something_else_is_left_out(folder):
    path = folder({"tokenizer.json": {}, "config.json": {"port": 80, "max_position_embeddings": 3}})
    facts = read_facts(path, is_onnx=True)
    assert (facts.assets, facts.max_length) == (("tokenizer.json",), None)
    assert "names neither model_type nor architectures" in facts.notes[0]
