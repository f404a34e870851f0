from pathlib import Path

import numpy as np
import pytest

from toolkit import Budget, compress
from toolkit.allocate.importance import zipf_prior
from toolkit.table.metrics import mean_cosine


def test_offers_fit_their_ratios_and_get_worse(lighttoken, tiny_model: Path):
    outcome = lighttoken("plan", tiny_model, "--ratios", "4,5,6", "--json")
    assert outcome.code == 0
    offers = outcome.json["offers"]
    assert outcome.json["dense_bytes"] == 600 * 32 * 4
    assert [offer["ratio"] for offer in offers] == [4, 5, 6]
    for offer in offers:
        assert offer["nbytes"] <= outcome.json["dense_bytes"] / offer["ratio"]
        assert offer["bits_per_parameter"] == 8 * offer["nbytes"] / (600 * 32)
        assert 0 < offer["covered"] <= 600
        assert offer["covered"] * offer["bytes_per_row"] < offer["nbytes"]
        assert sorted(offer["row_counts"], reverse=True) == offer["row_counts"]
    cosines = [offer["cosine"] for offer in offers]
    assert cosines == sorted(cosines, reverse=True)


@pytest.mark.parametrize("ratio", [5, 8, 16])
def test_what_is_offered_is_near_what_comes_out(
    lighttoken, small_table, tmp_path: Path, ratio: float
):
    np.save(tmp_path / "table.npy", small_table)
    arguments = ("plan", tmp_path / "table.npy", "--ratios", ratio, "--json")
    (offer,) = lighttoken(*arguments).json["offers"]
    embedding = compress(small_table, Budget(ratio=ratio))
    every = len(embedding.stages) - len(offer["row_counts"])
    stored = sum(stage.codes.shape[1] for stage in embedding.stages[:every])
    assert offer["bytes_per_row"] == stored + (embedding.gain is not None)
    assert offer["covered"] == embedding.covered
    assert offer["row_counts"] == [stage.rows for stage in embedding.stages[every:]]
    real = mean_cosine(small_table, embedding.dense(), zipf_prior(len(small_table)))
    assert offer["cosine"] == pytest.approx(real, abs=0.06)


def test_the_table_says_what_its_columns_count(lighttoken, small_table, tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    outcome = lighttoken("plan", tmp_path / "table.npy", "--ratios", "6,8")
    assert outcome.code == 0
    assert "707 x 48" in outcome.out
    assert "bytes a row" in outcome.out
    assert "get 6 bytes more, once, twice" in outcome.out  # eight columns to a byte


def test_ratios_out_of_reach_are_left_out(lighttoken, tiny_model: Path):
    outcome = lighttoken("plan", tiny_model, "--ratios", "5,900")
    assert outcome.code == 0
    assert "left out" in outcome.out


def test_what_languages_take(lighttoken, tiny_model: Path, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"word{n} the cat\n" for n in range(300)), encoding="utf-8")
    ask = ("plan", tiny_model, "--ratios", 3, "--languages", "en,de", "--vocabulary", text)
    outcome = lighttoken(*ask, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json["languages"]
    assert set(found) == {"en", "de", "text"}
    assert 300 <= found["text"]["alone"] < found["text"]["tokens"] < 330
    assert found["en"]["alone"] <= found["en"]["tokens"] < 30
    assert outcome.json["rows"] < 340
    outcome = lighttoken(*ask)
    assert "tokens stay" in outcome.out
    assert "that it alone needs" in outcome.out


def test_bad_input(fails, tiny_model: Path, tmp_path: Path):
    assert "commas" in fails("plan", tiny_model, "--ratios", "many")
    assert "no list of words for 'xx'" in fails("plan", tiny_model, "--languages", "xx")
    corpus = ("--languages", "en", "--corpus", tmp_path / "text.txt")
    assert "counted in the whole vocabulary" in fails("plan", tiny_model, *corpus)
    assert "ratio" in fails("plan", tiny_model, "--ratios", "0")
    assert "nearest" in fails("plan", tiny_model, "--ratios", "900")
    assert "not here" in fails("plan", tmp_path / "no.onnx")


@pytest.mark.parametrize(
    ("architecture", "said"), [("LlamaForCausalLM", True), ("LlamaModel", False)]
)
def test_a_decoder_is_told_its_default(lighttoken, tmp_path: Path, architecture: str, said: bool):
    import transformers

    sizes = {"vocab_size": 500, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4)
    getattr(transformers, architecture)(config).save_pretrained(tmp_path / "model")
    outcome = lighttoken("plan", tmp_path / "model", "--ratios", "4")
    assert outcome.code == 0
    told = " ".join((outcome.out + outcome.err).split())
    assert ("this is a decoder: `export` takes 12x by default" in told) == said
