"""Settings of a model that would make its libraries read, or run, what is elsewhere."""

import json
import re

import pytest

from toolkit.errors import InputError
from toolkit.loaders import check_loading, check_tokenizer


def folder_of(tmp_path, **files):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"_attn_implementation": "evil/kernel"},
        {"_attn_implementation_internal": "evil/kernel@main:attention"},
        {"attn_implementation": {"": "eager", "text_config": "evil/kernel"}},
        {"text_config": {"attn_implementation": "evil/kernel"}},
        {"experts_implementation": "evil/kernel"},
    ],
)
def test_no_code_is_fetched_for_attention(tmp_path, config):
    with pytest.raises(InputError, match=r"asks for code of 'evil/kernel.*' to be fetched and run"):
        check_loading(folder_of(tmp_path, config=config))


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10_001},
        {"n_layer": 10**12},
        {"encoder_layers": 20_000},
        {"text_config": {"num_layers": 10**7}},
    ],
)
def test_a_model_has_no_million_layers(tmp_path, config):
    with pytest.raises(InputError, match=r"says \w+ [\d,]+, more than any model has \(10,000"):
        check_loading(folder_of(tmp_path, config=config))


def test_other_numbers_are_as_large_as_they_are(tmp_path):
    config = {"num_hidden_layers": 10_000, "hidden_size_per_layer": 65_536, "vocab_size": 10**6,
              "vision_feature_layer": -2, "sparse_layers": [1, 2], "tie": True}  # fmt: skip
    check_loading(folder_of(tmp_path, config=config))


@pytest.mark.parametrize(
    "name", ["../other/model.safetensors", "/a/model.safetensors", "a/b.safetensors.index.json",
             ".hidden.safetensors"]
)  # fmt: skip
@pytest.mark.parametrize("below", [False, True])
def test_weights_are_in_the_folder(tmp_path, name, below):
    told = {"transformers_weights": name}
    config = {"text_config": told} if below else told
    with pytest.raises(InputError, match=re.escape(f"names the weights {name!r}, outside")):
        check_loading(folder_of(tmp_path, config=config))


def test_an_adapter_would_be_put_on_a_model_that_it_names(tmp_path):
    told = {"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"}
    with pytest.raises(InputError, match=r"is an adapter .*; merge the two first"):
        check_loading(folder_of(tmp_path, adapter_config=told))


@pytest.mark.parametrize("settings", ["tokenizer_config", "special_tokens_map"])
@pytest.mark.parametrize("key", ["vocab_file", "tokenizer_file", "source_spm", "vocab"])
@pytest.mark.parametrize("way", ["{0}", "../private.txt"])
def test_a_tokenizer_reads_its_own_files(tmp_path, monkeypatch, settings, key, way):
    (tmp_path / "private.txt").write_text("secret")
    folder = folder_of(tmp_path, **{settings: {key: way.format(tmp_path / "private.txt")}})
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=f"as {key}, outside of its folder"):
        check_tokenizer(folder)


def test_values_without_names_are_files_too(tmp_path):
    (tmp_path / "private.txt").write_text("secret")
    told = {"init_inputs": [{"a": [str(tmp_path / "private.txt")]}]}
    with pytest.raises(InputError, match="as init_inputs, outside"):
        check_tokenizer(folder_of(tmp_path, tokenizer_config=told))


def test_usual_settings_pass(tmp_path):
    config = {"_attn_implementation": "sdpa", "attn_implementation": None, "vocab_file": 3}
    config |= {"transformers_weights": "model.safetensors", "_name_or_path": "/a/b", "auto": [{}]}
    told = {"tokenizer_file": "/root/.cache/huggingface/0123/tokenizer.json", "vocab": "a" * 9000}
    told |= {"name_or_path": "/", "vocab_file": "vocab.txt", "source_spm": "\0", "b_file": "a\n"}
    folder = folder_of(tmp_path, config=config, tokenizer_config=told)
    (folder / "vocab.txt").write_text("a")
    check_loading(folder)
    (folder / "config.json").write_text("[" * 100_000)
    check_loading(folder)  # whoever reads it says what is wrong
