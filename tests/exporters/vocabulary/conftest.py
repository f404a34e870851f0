"""Tokenizers of each kind, trained on words of two languages, and small models with them."""

import json

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from exporters.vocabulary.words import words_of

TOKENS = 3000
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
KINDS = ("unigram", "wordpiece", "bpe", "byte_level", "clip")


@pytest.fixture(autouse=True)
def shorter_lists(monkeypatch):
    """The tokenizers here know 6,000 words of a language; a hundred thousand only take longer."""
    monkeypatch.setattr("exporters.vocabulary.words._MOST", 10_000)


@pytest.fixture(scope="session")
def sentences():
    """German and English words, the frequent ones more often, some with a capital."""
    lines = []
    for language in ("de", "en"):
        words = words_of(language).words[:6000]
        for start in range(0, 6000, 6):
            lines.append(" ".join([*words[start : start + 6], *words[: 6 - start % 3], "."]))
            lines.append(" ".join(word.capitalize() for word in words[start : start + 6]))
    return lines


def _unigram(lines):
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=TOKENS, special_tokens=list(SPECIAL), unk_token="<unk>"
    )
    made.train_from_iterator(lines, trainer)
    return made


def _wordpiece(lines):
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=TOKENS, special_tokens=list(SPECIAL))
    made.train_from_iterator(lines, trainer)
    return made


def _bpe(lines):
    """As sentencepiece trains it, and Gemma uses it: spaces divide words in the training alone."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=list(SPECIAL))
    made.train_from_iterator(lines, trainer)
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.normalizer = normalizers.Replace(" ", "▁")
    return made


def _byte_level(lines):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(lines, trainer)
    return made


def _clip(lines):
    """BPE with a mark at the end of a word."""
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=list(SPECIAL), end_of_word_suffix="</w>"
    )
    made.train_from_iterator(lines, trainer)
    return made


@pytest.fixture(scope="session")
def tokenizers(sentences):
    """A tokenizer of each of ``KINDS``, with <s> and </s> around a text."""
    found = {}
    for kind in KINDS:
        made = globals()[f"_{kind}"](sentences)
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B </s>",
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
        found[kind] = made
    return found


@pytest.fixture
def saved(tmp_path, tokenizers):
    """``saved(kind, model=None, change=None)``: a folder with such a tokenizer, and a model."""

    def save(kind, model=None, change=None, **settings):
        folder = tmp_path / "model"
        folder.mkdir()
        data = json.loads(tokenizers[kind].to_str())
        if change is not None:
            change(data)
        (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        told = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "<pad>",
            "bos_token": "<s>",
        }
        told |= {"eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 64} | settings
        (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
        if model is not None:
            model.save_pretrained(folder)
        return folder

    return save
