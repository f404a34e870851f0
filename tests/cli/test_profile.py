from pathlib import Path

FEW = ("--runs", 2, "--repeats", 2, "--length", 4)


def test_beside_the_original(lighttoken, tiny_bundle: Path, tiny_model: Path):
    outcome = lighttoken("profile", tiny_bundle, "--against", tiny_model, *FEW, "--json")
    assert outcome.code == 0
    assert outcome.json["repeats"] == 2
    ratios = outcome.json["comparisons"][0]["ratios"]
    assert ratios["disk_bytes"] < 1
    assert {"load_ms", "latency_4_p50_ms", "peak_rss_bytes"} <= set(ratios)


def test_alone_when_the_original_is_unknown(lighttoken, tiny_bundle: Path):
    outcome = lighttoken("profile", tiny_bundle, *FEW)
    assert outcome.code == 0
    assert "on disk" in outcome.out
    assert "--against" in outcome.err


def test_a_model_that_is_not_there(fails, tiny_bundle: Path, tmp_path: Path):
    line = fails("profile", tiny_bundle, "--against", tmp_path / "no.onnx", *FEW)
    assert "no.onnx" in line
