import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from exporters import ExportOptions, export
from exporters.drawn_text import DRAWN, drawn_texts
from toolkit import Budget
from toolkit.errors import InputError

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[unused1]", *(f"w{n}" for n in range(60)))


@pytest.fixture
def tokenizer(tmp_path):
    library = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "[PAD]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    library.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    path = tmp_path / "tokenizer.json"
    library.save(str(path))
    return path


def test_tokens_are_drawn_as_often_as_told(tokenizer):
    shares = np.zeros(len(WORDS))
    shares[[1, 3]] = 100  # special, and in reserve: never drawn
    shares[4:14] = np.arange(1, 11)
    texts = drawn_texts(tokenizer, shares, longest=128, seed=0)
    assert len(texts) == DRAWN
    assert all((text[0], text[-1]) == (1, 2) for text in texts)
    assert {len(text) for text in texts} == set(range(6, 41))
    inside = np.concatenate([text[1:-1] for text in texts])
    found = np.bincount(inside, minlength=len(WORDS)) / len(inside)
    np.testing.assert_allclose(found[4:14], np.arange(1, 11) / 55, atol=0.01)
    assert found[:4].sum() + found[14:].sum() == 0


def test_the_seed_says_which(tokenizer):
    shares = np.ones(len(WORDS))
    first, again, other = (
        drawn_texts(tokenizer, shares, longest=128, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_no_text_is_longer_than_the_model_reads(tokenizer):
    texts = drawn_texts(tokenizer, np.ones(len(WORDS)), longest=8, seed=0)
    assert max(map(len, texts)) == 8


def test_nothing_to_draw_is_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match="no token to draw"):
        drawn_texts(tokenizer, np.zeros(len(WORDS)), longest=8, seed=0)
    with pytest.raises(InputError, match="is not here"):
        drawn_texts(tmp_path / "other.json", np.ones(3), longest=8, seed=0)


def test_an_encoder_is_healed_without_text(tmp_path, tokenizer):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=2000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=48,
    )  # fmt: skip
    folder = tmp_path / "model"
    transformers.BertModel(config).save_pretrained(folder)
    data = json.loads(tokenizer.read_text())
    data["model"]["vocab"] |= {f"v{n}": n for n in range(len(WORDS), 2000)}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    options = ExportOptions(heal=Path("own"), heal_steps=10)
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=8), options=options)
    assert manifest.healed is not None
    assert (manifest.healed.texts, manifest.healed.own) == (DRAWN, True)
    assert "On 8,000 texts of drawn tokens the table" in (tmp_path / "out/README.md").read_text()
    assert manifest.healed.after < manifest.healed.before
    assert manifest.footprint.ratio >= 8
