"""How ColBERT models read texts, by each kind of file that says so."""

import json
import string

import pytest

from toolkit.bundle.late_interaction import (
    TextSettings,
    is_late_interaction,
    keeps_token_vectors,
    read_text_settings,
)
from toolkit.bundle.manifest import Pooling
from toolkit.errors import FormatError
from toolkit.json_files import read_json

PYLATE = "config_sentence_transformers.json"


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return write


def known(folder):
    return is_late_interaction(lambda name: read_json(folder / name))


def test_without_a_word_pylates_defaults_hold(tmp_path):
    found = read_text_settings(tmp_path)
    assert (found.query_prefix, found.document_prefix) == ("[Q] ", "[D] ")
    assert (found.query_length, found.document_length) == (32, 180)
    assert (found.do_query_expansion, found.attend_to_expansion_tokens) == (True, False)
    assert found.skiplist_words == tuple(string.punctuation)
    assert found.prompt == ""
    assert not known(tmp_path)


@pytest.mark.parametrize("name", [PYLATE, "onnx_config.json"])
def test_pylates_own_words(write, name):
    told = {
        "query_prefix": "[unused0]",
        "document_prefix": "",
        "query_length": 8,
        "document_length": 300,
        "attend_to_expansion_tokens": True,
        "do_query_expansion": None,
        "skiplist_words": ["."],
        "mask_token_id": 4,
        "prompts": {"all": "text: ", "none": ""},
        "default_prompt_name": "all",
        "embedding_dim": 128,
    }
    folder = write(name, told)
    assert known(folder)
    found = read_text_settings(folder)
    assert (found.query_prefix, found.document_prefix) == ("[unused0]", "")
    assert (found.query_length, found.document_length, found.mask_token_id) == (8, 300, 4)
    assert (found.do_query_expansion, found.attend_to_expansion_tokens) == (True, True)
    assert (found.skiplist_words, found.prompt) == ((".",), "text: ")


@pytest.mark.parametrize(
    ("more", "skipped"),
    [({}, tuple(string.punctuation)), ({"mask_punctuation": False}, ())],
)
def test_colbert_irs_words(write, more, skipped):
    folder = write("artifact.metadata", {"query_maxlen": 16, "doc_maxlen": 220} | more)
    assert known(folder)
    found = read_text_settings(folder)
    assert (found.query_prefix, found.document_prefix) == ("[unused0]", "[unused1]")
    assert (found.query_length, found.document_length) == (16, 220)
    assert found.skiplist_words == skipped


def test_colbert_irs_architecture_alone(write):
    folder = write("config.json", {"architectures": ["HF_ColBERT"]})
    assert known(folder)
    assert read_text_settings(folder) == TextSettings("[unused0]", "[unused1]")


def test_other_models_are_not_taken_for_it(write):
    write("config.json", {"architectures": ["BertModel"]})
    assert not known(write(PYLATE, {"similarity_fn_name": "cosine", "prompts": {}}))
    assert known(write(PYLATE, {"similarity_fn_name": "MaxSim"}))
    assert keeps_token_vectors(Pooling("colbert"))
    assert not keeps_token_vectors(Pooling("mean"))
    assert not keeps_token_vectors(None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"query_length": "long"}, "settings.query_length"),
        ({"query_length": 1}, "query_length must be at least 2, got 1"),
        ({"document_length": 0}, "document_length must be at least 2, got 0"),
    ],
)
def test_values_that_are_none(write, value, message):
    folder = write(PYLATE, {"similarity_fn_name": "MaxSim"} | value)
    with pytest.raises(FormatError, match=message) as caught:
        read_text_settings(folder)
    assert PYLATE in str(caught.value)
    assert "\n" not in str(caught.value)
