from pathlib import Path

import numpy as np
import pytest

from toolkit import Budget, compress
from toolkit.metrics import mean_cosine


def test_offers_fit_their_ratios_and_get_worse(lighttoken, tiny_model: Path):
    outcome = lighttoken("plan", tiny_model, "--ratios", "4,5,6", "--json")
    assert outcome.code == 0
    offers = outcome.json["offers"]
    assert outcome.json["dense_bytes"] == 600 * 32 * 4
    assert [offer["ratio"] for offer in offers] == [4, 5, 6]
    for offer in offers:
        assert offer["nbytes"] <= outcome.json["dense_bytes"] / offer["ratio"]
    cosines = [offer["cosine"] for offer in offers]
    assert cosines == sorted(cosines, reverse=True)


def test_the_expected_cosine_is_near_what_comes_out(lighttoken, small_table, tmp_path: Path):
    np.save(tmp_path / "table.npy", small_table)
    (offer,) = lighttoken("plan", tmp_path / "table.npy", "--ratios", 8, "--json").json["offers"]
    embedding = compress(small_table, Budget(ratio=8))
    from toolkit.importance import zipf_prior

    real = mean_cosine(small_table, embedding.dense(), zipf_prior(len(small_table)))
    assert offer["cosine"] == pytest.approx(real, abs=0.06)


def test_ratios_out_of_reach_are_left_out(lighttoken, tiny_model: Path):
    outcome = lighttoken("plan", tiny_model, "--ratios", "5,900")
    assert outcome.code == 0
    assert "left out" in outcome.out


def test_bad_input(fails, tiny_model: Path, tmp_path: Path):
    assert "commas" in fails("plan", tiny_model, "--ratios", "many")
    assert "ratio" in fails("plan", tiny_model, "--ratios", "0")
    assert "nearest" in fails("plan", tiny_model, "--ratios", "900")
    assert "not here" in fails("plan", tmp_path / "no.onnx")
