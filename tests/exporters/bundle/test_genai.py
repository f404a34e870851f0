"""What onnxruntime-genai is told of a decoder; tests/integration/loads/ lets it write."""

import json

import onnx_ir as ir
import pytest

from exporters.bundle.genai import NotForGenai, genai_config, write_genai_config
from toolkit.errors import InputError

F, I = ir.DataType.FLOAT, ir.DataType.INT64  # noqa: E741
CONFIG = {
    "model_type": "llama",
    "max_position_embeddings": 64,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def value(name, dtype, *shape):
    return ir.val(name, dtype=dtype, shape=list(shape))


def decoder(*, sizes=((2, 8), (2, 8)), dtype=F, others=("attention_mask",), ids=("b", "s")):
    """A graph of these inputs and outputs, and of nothing between."""
    kinds = ("key", "value")
    shapes = [(f"{layer}.{kind}", size) for layer, size in enumerate(sizes) for kind in kinds]
    inputs = [value("input_ids", I, *ids), *(value(name, I, "b", "t") for name in others)]
    outputs = [value("logits", F, "b", "s", 310)]
    for name, (heads, width) in shapes:
        inputs.append(value(f"past_key_values.{name}", dtype, "b", heads, "p", width))
        outputs.append(value(f"present.{name}", dtype, "b", heads, "t", width))
    return ir.Graph(inputs, outputs, nodes=[], opset_imports={"": 20})


@pytest.fixture
def source(tmp_path):
    """``source(**changes)``: a folder with a config.json, and a generation_config.json if given."""

    def write(generation=None, **changes):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
        if generation is not None:
            (tmp_path / "generation_config.json").write_text(json.dumps(generation))
        return tmp_path

    return write


def made(graph, folder):
    return genai_config(graph, folder, "model.onnx", rows=300, width=32)


def test_names_and_sizes_are_the_graphs(source):
    config = made(decoder(others=("attention_mask", "position_ids")), source())
    model = config["model"]
    assert (model["type"], model["context_length"], model["vocab_size"]) == ("llama", 64, 310)
    held = model["decoder"]
    assert (held["num_hidden_layers"], held["num_key_value_heads"], held["head_size"]) == (2, 2, 8)
    assert (held["num_attention_heads"], held["hidden_size"]) == (4, 32)
    assert held["inputs"] == {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "position_ids": "position_ids",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    assert held["outputs"]["present_value_names"] == "present.%d.value"
    assert held["filename"] == "model.onnx"
    assert "custom_ops_library" not in held["session_options"]
    assert config["search"]["past_present_share_buffer"] is False


def test_an_input_that_need_not_be_given_is_not_asked_for(source):
    config = made(decoder(others=("attention_mask", "num_logits_to_keep")), source())
    assert "num_logits_to_keep" not in config["model"]["decoder"]["inputs"]


def test_tokens_and_search_come_from_both_files(source):
    generation = {"eos_token_id": [9, 1], "do_sample": True, "top_k": 64, "transformers": "4"}
    config = made(decoder(), source(generation))
    model = config["model"]
    assert model["eos_token_id"] == [9, 1]
    assert (model["bos_token_id"], model["pad_token_id"]) == (2, 9)
    assert config["search"]["top_k"] == 64
    assert "transformers" not in config["search"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gemma3_text", "gemma3_text"),
        ("gpt_neox", "decoder"),
        ("phi3", "decoder"),
        (None, "decoder"),
    ],
)
def test_a_model_without_a_name_is_any_decoder(source, kind, name):
    assert made(decoder(), source(model_type=kind))["model"]["type"] == name


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        ({"sizes": ()}, "the graph has no cache; --with-past makes one"),
        ({"sizes": ((2, 8), (1, 16))}, "keys and values are not of one size in all layers"),
        ({"dtype": ir.DataType.INT8}, "the cache past_key_values.0.key is no float"),
        ({"others": ("token_type_ids",)}, "the graph's inputs are input_ids, token_type_ids"),
        ({"ids": (1, 128)}, r"the graph takes ids \[1, 128\] and no others"),
    ],
)
def test_what_it_cannot_run_it_is_not_told_of(source, graph, reason):
    with pytest.raises(NotForGenai, match=reason):
        made(decoder(**graph), source())


def test_layers_without_a_cache_of_their_own(source):
    graph = decoder()
    graph.inputs.pop()
    with pytest.raises(NotForGenai, match="not every layer has keys and values"):
        made(graph, source())


def test_without_a_length_there_is_no_file(source, tmp_path):
    folder = source(max_position_embeddings=None)
    told = write_genai_config(tmp_path, folder, decoder(), "model.onnx", rows=300, width=32)
    assert told == "config.json does not say how many tokens the model reads"
    assert not (tmp_path / "genai_config.json").exists()


def write(out, folder, model="m.onnx"):
    given = folder / "genai_config.json"
    return write_genai_config(out, folder, decoder(), model, rows=300, width=32, given=given)


def test_one_that_is_there_comes_along_with_the_files_new_name(source, tmp_path):
    folder, out = source(), tmp_path / "out"
    out.mkdir()
    given = {"model": {"type": "phi3", "decoder": {"filename": "old.onnx", "head_size": 8}}}
    (folder / "genai_config.json").write_text(json.dumps(given | {"search": {"top_k": 5}}))
    assert write(out, folder, "onnx/m.onnx") == ""
    config = json.loads((out / "genai_config.json").read_text())
    assert config["model"]["decoder"] == {"filename": "onnx/m.onnx", "head_size": 8}
    assert (config["model"]["type"], config["search"]) == ("phi3", {"top_k": 5})


@pytest.mark.parametrize("given", ["{", "[]"])
def test_a_damaged_one_is_told(source, tmp_path, given):
    (source() / "genai_config.json").write_text(given)
    with pytest.raises(InputError, match=r"genai_config\.json .*; download the model again"):
        write(tmp_path, tmp_path)


def test_one_of_another_kind_of_model_is_left_out(source, tmp_path):
    (source() / "genai_config.json").write_text('{"model": {"encoder": {}}}')
    assert "is not that of a decoder" in write(tmp_path, tmp_path)
