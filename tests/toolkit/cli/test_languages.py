"""``export --languages`` and ``--vocabulary``, and the verbs on what they make."""

import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertForMaskedLM

from toolkit.bundle.manifest import read_manifest

TEXT = "the cat sleeps\na kitten naps\nthe rain\n" + "".join(f"word{n} a\n" for n in range(300))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 3, encoding="utf-8")
    return path


def test_a_text_says_which_tokens_stay(lighttoken, tiny_model, tmp_path, text):
    out = tmp_path / "small"
    outcome = lighttoken(
        "export", tiny_model, out, "--max-bytes", 9000, "--vocabulary", text, "--json"
    )
    assert outcome.code == 0
    assert "cut from 600 to" in outcome.json["notes"][0]
    manifest = read_manifest(out)
    assert manifest.vocabulary is not None
    assert (manifest.vocabulary.rows, manifest.vocabulary.languages) == (600, ())
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert manifest.rows == tokenizer.get_vocab_size() < 320
    assert tokenizer.encode("the cat sleeps word7").tokens == ["the", "cat", "sleeps", "word7"]
    assert tokenizer.encode("stocks word400").tokens == ["[UNK]", "[UNK]"]
    whole = lighttoken("export", tiny_model, tmp_path / "whole", "--ratio", 5, "--json").json
    # Nodes may differ by a few bytes of names; tables of floats do not.
    assert outcome.json["original_model_bytes"] == pytest.approx(
        whole["original_model_bytes"], abs=500
    )
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "for a text: of 600 tokens the others have left" in card


def test_languages_cut_by_their_words(lighttoken, tiny_model, tmp_path):
    out = tmp_path / "small"
    outcome = lighttoken("export", tiny_model, out, "--max-bytes", 9000, "--languages", "en,DE")
    assert outcome.code == 0
    assert "en" in outcome.out + outcome.err
    manifest = read_manifest(out)
    assert manifest.vocabulary is not None
    assert manifest.vocabulary.languages == ("en", "de")
    tokens = Tokenizer.from_file(str(out / "tokenizer.json")).get_vocab()
    assert {"cat", "kitten", "rain", "[CLS]"} <= tokens.keys()
    assert "word77" not in tokens


def test_vectors_are_compared_with_the_original_and_its_own_tokens(
    lighttoken, tiny_model, tmp_path, text
):
    out = tmp_path / "small"
    lighttoken("export", tiny_model, out, "--max-bytes", 9000, "--vocabulary", text)
    outcome = lighttoken("evaluate", out, "--text", text, "--json")
    assert outcome.code == 0
    (figure,) = [each for each in outcome.json["figures"] if each["metric"] == "cosine, mean"]
    assert figure["score"]["value"] > 0.9  # other ids would give something else


@pytest.fixture
def masked(tiny_model, tmp_path):
    """A masked language model with the tiny model's tokenizer."""
    folder = tmp_path / "masked"
    shutil.copytree(tiny_model, folder)
    torch.manual_seed(0)
    config = json.loads((folder / "config.json").read_text())
    model = BertForMaskedLM(BertForMaskedLM.config_class(**config))
    model.save_pretrained(folder)
    (folder / "modules.json").unlink()
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"mask_token": "[MASK]"}))
    return folder


def test_language_models_are_compared_token_by_token(lighttoken, masked, tmp_path, text):
    out = tmp_path / "small"
    outcome = lighttoken("export", masked, out, "--max-bytes", 9000, "--vocabulary", text)
    assert outcome.code == 0, outcome.err
    outcome = lighttoken("evaluate", out, "--text", text, "--json")
    assert outcome.code == 0, outcome.err
    assert any("cut as the bundle's was" in note for note in outcome.json["notes"])
    names = {each["metric"] for each in outcome.json["figures"]}
    assert "KL divergence" in names


def test_bad_input(fails, lighttoken, tiny_model, tmp_path, text, monkeypatch):
    out = tmp_path / "out"
    ask = ("export", tiny_model, out, "--max-bytes", 9000)
    assert "no list of words for 'xx'; choose from" in fails(*ask, "--languages", "de,xx")
    assert "give some such as de,en" in fails(*ask, "--languages", "de,")
    assert "is not here" in fails(*ask, "--vocabulary", tmp_path / "nothing.txt")
    assert "number anew" in fails(*ask, "--vocabulary", text, "--exact-rows", "3")
    lighttoken("export", tiny_model, tmp_path / "whole", "--ratio", 5)
    model = tmp_path / "whole/model.onnx"
    assert "holds no weights of transformers" in fails("export", model, out, "--languages", "en")
    monkeypatch.setattr("toolkit.extras.installed", lambda name: name != "wordfreq")
    assert "pip install 'lighttoken[languages]'" in fails(*ask, "--languages", "en")
    assert not out.exists()
