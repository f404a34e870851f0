import json
from pathlib import Path

import pytest

FEW = ("--runs", 2, "--repeats", 1, "--length", 4)


def test_beside_the_original(lighttoken, tiny_bundle: Path, tiny_model: Path):
    outcome = lighttoken(
        "profile", tiny_bundle, "--original", tiny_model, "--against", "original", *FEW, "--json"
    )
    assert outcome.code == 0
    assert outcome.json["repeats"] == 1
    assert [subject["name"] for subject in outcome.json["subjects"]][1] == "original.onnx"
    ratios = outcome.json["comparisons"][0]["ratios"]
    assert ratios["disk_bytes"] < 1
    assert {"load_ms", "latency_1x4_p50_ms", "peak_rss_bytes"} <= set(ratios)


def test_beside_what_onnxruntimes_tools_make_of_it(lighttoken, tiny_bundle: Path, tiny_model: Path):
    rivals = ("--against", "int8", "--against", "int4", "--original", tiny_model)
    outcome = lighttoken("profile", tiny_bundle, *rivals, *FEW, "--json")
    assert outcome.code == 0
    assert [one["status"] for one in outcome.json["measurements"]] == ["measured"] * 3
    ours, int8, int4 = (sum(subject["parts"].values()) for subject in outcome.json["subjects"])
    assert ours != int8 != int4
    assert "WARNING" not in outcome.err


def test_a_folder_beside_it(lighttoken, tiny_bundle: Path, tiny_model: Path):
    outcome = lighttoken("profile", tiny_bundle, "--against", tiny_model, *FEW, "--json")
    assert outcome.code == 0
    assert len(outcome.json["subjects"]) == 2


def test_alone_when_the_original_is_unknown(lighttoken, tiny_bundle: Path):
    outcome = lighttoken("profile", tiny_bundle, *FEW)
    assert outcome.code == 0
    assert "on disk" in outcome.out
    assert "--original" in outcome.err


def test_a_bare_model(lighttoken, fails, tiny_bundle: Path):
    assert lighttoken("profile", tiny_bundle / "model.onnx", *FEW).code == 0
    line = fails("profile", tiny_bundle / "model.onnx", "--against", "int8", *FEW)
    assert "give paths of models" in line


def test_nodes_and_predictions(lighttoken, tiny_bundle: Path):
    outcome = lighttoken("profile", tiny_bundle, *FEW, "--nodes", "--predict", "coreml")
    assert outcome.code == 0
    assert "island" in outcome.out
    assert "nothing was run" in " ".join(outcome.out.split())  # a narrow table wraps its title


def test_a_page(lighttoken, tiny_bundle: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    outcome = lighttoken("profile", tiny_bundle, *FEW, "--report", page)
    assert outcome.code == 0
    assert str(page.name) in outcome.out
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_place_that_is_missing_is_told_in_a_line(lighttoken, tiny_bundle: Path):
    outcome = lighttoken(
        "profile", tiny_bundle, *FEW, "--provider", "cpu", "--provider", "tensorrt"
    )
    assert outcome.code == 0
    assert "tensorrt: failed: tensorrt is not in this onnxruntime" in outcome.out


@pytest.mark.parametrize("device", ["linux-arm64", "android", "web"])
def test_a_folder_for_a_device(lighttoken, tiny_bundle: Path, tmp_path: Path, device: str):
    out = tmp_path / "device"
    outcome = lighttoken("profile", tiny_bundle, "--emit", device, "--out", out)
    assert outcome.code == 0
    assert (out / "README.md").is_file()
    assert "--results results.json" in outcome.out


def test_a_folder_has_to_be_named(fails, tiny_bundle: Path):
    assert "name it with --out" in fails("profile", tiny_bundle, "--emit", "web")


def test_results_that_are_none(fails, tiny_bundle: Path, tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"kind": "else"}))
    assert "results.json holds 'else'" in fails("profile", tiny_bundle, "--results", path)


def test_a_model_that_is_not_there(fails, tiny_bundle: Path, tmp_path: Path):
    line = fails("profile", tiny_bundle, "--against", tmp_path / "no.onnx", *FEW)
    assert "no.onnx" in line


def test_a_page_replaces_no_file_of_the_users(fails, tiny_bundle: Path, tmp_path: Path):
    page = tmp_path / "report.html"
    page.write_text("my notes")
    assert "is no page of lighttoken profile" in fails("profile", tiny_bundle, "--report", page)
    assert page.read_text() == "my notes"
    assert "is a folder" in fails("profile", tiny_bundle, "--report", tmp_path)
    model = tiny_bundle / "model.onnx"
    before = model.read_bytes()
    assert "is no page" in fails("profile", tiny_bundle, "--report", model)
    assert model.read_bytes() == before
