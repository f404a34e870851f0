"""Tutorials are followed from top to bottom: their commands and programs run, on small models."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.contract.pages import QUICKER, TUTORIALS, all_blocks, lines, run_line, run_program

# 25 and 12 times smaller are out of reach of so small tables.
TOLD = QUICKER | {"export": ["--ratio", "2"]}
LANGUAGES = ("de", "en")


@pytest.fixture(scope="module")
def encoder_of_words(tiny_model, tmp_path_factory, kept) -> Path:
    """A random BERT, 3000 x 32, whose tokens are words of two languages, with mean pooling."""
    words_of = pytest.importorskip("wordfreq").top_n_list
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = dict.fromkeys(word for language in LANGUAGES for word in words_of(language, 2000))
    names = [*special, *known][:3000]
    folder = tmp_path_factory.mktemp("models") / "words"
    tiny_model("BertModel", vocab_size=len(names)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "[PAD]",
            "model_max_length": 32,
        },
        "modules.json": [
            {"path": path, "type": f"sentence_transformers.models.{kind}"}
            for path, kind in [("", "Transformer"), ("1_Pooling", "Pooling")]
        ],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }
    (folder / "1_Pooling").mkdir()
    for name, content in described.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture
def small_models(encoder_of_words, decoder_folder) -> dict[str, Path]:
    """A small model for each that a tutorial names."""
    return {
        "sentence-transformers/all-MiniLM-L6-v2": encoder_of_words,
        "intfloat/multilingual-e5-small": encoder_of_words,
        "./gemma-3-270m": decoder_folder("Gemma3ForCausalLM", 64),
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_a_tutorial_runs(
    page: Path,
    small_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Lists of a hundred thousand words only take longer.
    monkeypatch.setattr("exporters.vocabulary.words._MOST", 10_000)
    ran = 0
    for kind, text in all_blocks(page):
        if kind == "python":
            run_program(text, page, small_models)
        for line in lines(text) if kind == "console" else []:
            assert run_line(line, small_models, TOLD) == 0, line
            ran += 1
    assert ran >= 5


def test_there_are_tutorials():
    assert [page.name for page in TUTORIALS] == ["board.md", "browser.md", "languages.md"]


def test_a_line_that_cannot_run_is_told():
    with pytest.raises(AssertionError, match="block of text"):
        run_line("scp -r bundle board:", {})
