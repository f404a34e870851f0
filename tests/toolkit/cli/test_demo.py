from pathlib import Path

import pytest

from toolkit.cli import demo


@pytest.mark.slow
def test_the_main_job_on_the_real_model(lighttoken, minilm_folder: Path, tmp_path: Path):
    outcome = lighttoken("demo", "--out", tmp_path / "demo", "--json")
    assert outcome.code == 0
    assert outcome.json["ratio"] >= 25
    assert outcome.json["sentence_cosine"] > 0.95
    assert outcome.json["neighbours_found"]["original"] == outcome.json["sentences"]
    ratios = outcome.json["profile"]["comparisons"][0]["ratios"]
    assert ratios["disk_bytes"] < 0.51
    assert ratios["peak_rss_bytes"] < 0.9
    run = lighttoken("run", tmp_path / "demo", "A cat sleeps.", "A kitten naps.", "Stocks fell.")
    assert run.code == 0


def test_another_folder_is_not_replaced(fails, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    assert "choose another folder" in fails("demo", "--out", tmp_path / "photos")


def test_other_weights_are_refused(minilm_folder: Path, monkeypatch: pytest.MonkeyPatch, fails):
    monkeypatch.setattr(demo, "SHA256", "0" * 64)
    assert "sha256 differs" in fails("demo")
