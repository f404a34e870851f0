"""A decoder's table is compressed for what its own text says about it."""

import json
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from exporters import ExportOptions, export
from exporters.decoders import decoder_statistics, writes_text
from exporters.sources.facts import read_facts
from exporters.sources.prior import special_tokens
from exporters.sources.source import LoadedModel
from exporters.steps.compress import compress_tables
from toolkit import Budget
from toolkit.bundle.manifest import Source
from toolkit.errors import InputError
from toolkit.table.embedding import CompressedEmbedding

ROWS = 400
NAMES = {"bos_token_id": 0, "eos_token_id": 1}


@pytest.fixture
def decoder(tiny_model, tmp_path):
    """``decoder(**config)``: a folder with a tokenizer of words w2, w3 …"""

    def save(architecture="LlamaForCausalLM", **config):
        folder = tmp_path / "model"
        tiny_model(architecture, **({"vocab_size": ROWS} | NAMES | config)).save_pretrained(folder)
        words = ["<bos>", "<eos>", "<turn>", *(f"w{index}" for index in range(3, ROWS))]
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.add_special_tokens(["<bos>", "<eos>", "<turn>"])
        tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    return save


def loaded(folder, exporter="dynamo"):
    source = Source(folder.name, "folder", "")
    return LoadedModel(folder, folder, read_facts(folder), source, exporter)


@pytest.fixture
def compressed(monkeypatch):
    """What ``compress`` is called with in each export."""
    calls = []

    def note(table, budget, **options):
        calls.append((budget, options))
        return CompressedEmbedding(*table.shape, table.mean(0), ())

    monkeypatch.setattr("exporters.steps.compress.compress", note)
    module = sys.modules["exporters.export"]  # the package's name stands for the function
    names = [step.run for step in module.STEPS]
    # A table that is all mean would not pass the checks that follow.
    monkeypatch.setattr(module, "STEPS", module.STEPS[: names.index(compress_tables) + 1])
    return calls


def run(folder, tmp_path, budget=None, **options):
    with pytest.raises(AttributeError):  # no manifest: the later steps are left out
        export(str(folder), tmp_path / "out", budget, options=ExportOptions(**options))


def test_a_tied_head_wants_unbiased_rows_in_the_metric_of_both(decoder, compressed, tmp_path):
    folder = decoder(tie_word_embeddings=True)
    run(folder, tmp_path)
    ((budget, options),) = compressed
    assert budget == Budget(ratio=12)
    assert options["unbiased"]
    found = decoder_statistics(loaded(folder))
    assert np.allclose(options["metric"], found.metric(head=True), rtol=1e-4)
    assert np.allclose(options["importance"], found.importance([0, 1, 2]), rtol=1e-4)
    assert options["config"].additive


@pytest.mark.parametrize("head", ["packed", "nbits"])
def test_a_table_that_is_only_looked_up_has_the_metric_of_that(decoder, compressed, tmp_path, head):
    """The head is a matrix of its own, or reads a copy."""
    folder = decoder(tie_word_embeddings=head == "nbits")
    run(folder, tmp_path, Budget(ratio=9), head=head)
    ((budget, options),) = compressed
    assert budget == Budget(ratio=9)
    assert not options["unbiased"]
    found = decoder_statistics(loaded(folder))
    assert np.allclose(options["metric"], found.metric(head=False), rtol=1e-4)


def test_other_methods_have_no_use_for_it(decoder, compressed, tmp_path):
    run(decoder(), tmp_path, method="svd")
    ((_, options),) = compressed
    assert set(options) & {"metric", "unbiased"} == set()


def test_an_encoder_keeps_its_ratio_and_its_prior(encoder_folder, compressed, tmp_path):
    run(encoder_folder, tmp_path)
    ((budget, options),) = compressed
    assert budget == Budget(ratio=25)
    assert "metric" not in options


def test_only_a_decoder_in_torch_writes(decoder, encoder_folder):
    folder = decoder()
    assert writes_text(loaded(folder))
    assert not writes_text(loaded(folder, "none"))
    assert not writes_text(loaded(encoder_folder))


def test_a_corpus_takes_the_place_of_own_text(decoder, tmp_path):
    folder, corpus = decoder(), tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"w{index % 50 + 3} w7" for index in range(400)))
    found = decoder_statistics(loaded(folder), corpus=corpus)
    assert found.tokens == 800 // 63 * 63  # the model reads 64
    corpus.write_text("w7 w8")
    with pytest.raises(InputError, match=r"corpus.txt holds 2 tokens; give some thousand"):
        decoder_statistics(loaded(folder), corpus=corpus)


def test_equal_seeds_give_equal_figures(decoder):
    one, two, other = (decoder_statistics(loaded(decoder()), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.hidden, two.hidden)
    assert not np.array_equal(one.hidden, other.hidden)


@pytest.mark.parametrize("named", [None, ROWS, [ROWS + 5, -1]])
def test_without_a_token_that_the_table_holds_texts_begin_with_any(decoder, named):
    """GPT-2's config names 50256 by default, whatever its vocabulary."""
    folder = decoder()
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | dict.fromkeys(NAMES, named)))
    assert decoder_statistics(loaded(folder)).starts == (0,)


def test_texts_are_no_longer_than_the_model_reads(decoder):
    folder = decoder("GPT2LMHeadModel", n_positions=16)
    assert decoder_statistics(loaded(folder)).texts.shape == (48, 16)


def test_special_tokens(decoder, tmp_path):
    assert special_tokens(decoder() / "tokenizer.json") == [0, 1, 2]
    assert special_tokens(tmp_path / "none.json") == []
    reserved = [{"id": 3, "content": "<unused3>", "special": True}]
    many = [{"id": id_, "content": f"<t{id_}>", "special": True} for id_ in range(100)]
    for tokens in (reserved, many):
        (tmp_path / "t.json").write_text(json.dumps({"added_tokens": tokens}))
        assert special_tokens(tmp_path / "t.json") == []
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        special_tokens(tmp_path / "t.json")
