"""A bundle in the layout of transformers.js, with pooling in its graph, under every verb."""

import json
import shutil
from pathlib import Path

import pytest

from toolkit.bundle.manifest import read_manifest
from toolkit.cli.app import run


@pytest.fixture(scope="module")
def web(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "web"
    options = ["--structure", "transformers-js", "--with-pooling", "--ratio", "5"]
    assert run(["export", str(tiny_model), str(folder), *options]) == 0
    return folder


def test_export_says_what_was_made(lighttoken, tiny_model: Path, tmp_path: Path):
    arguments = ("export", tiny_model, tmp_path / "out", "--ratio", 5, "--json")
    plain = lighttoken(*arguments).json
    assert (plain["model"], plain["pooled"]) == ("model.onnx", False)
    options = ("--structure", "transformers-js", "--with-pooling", "--force")
    other = lighttoken(*arguments, *options).json
    assert (other["model"], other["pooled"]) == ("onnx/model.onnx", True)
    assert (tmp_path / "out" / "onnx" / "model.onnx_data").is_file()
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_run(lighttoken, web: Path, tiny_bundle: Path):
    texts = ("a cat sleeps", "a kitten naps")
    found = lighttoken("run", web, *texts, "--json").json
    assert found == lighttoken("run", tiny_bundle, *texts, "--json").json


def test_inspect(lighttoken, web: Path):
    found = lighttoken("inspect", web, "--json").json
    assert found["manifest"]["model"] == "onnx/model.onnx"
    assert list(found["packed"].values()) == [found["manifest"]["footprint"]["embedding_bytes"]]
    assert found["model_bytes"] == read_manifest(web).footprint.model_bytes


def test_evaluate(lighttoken, web: Path, tiny_model: Path, tiny_bundle: Path, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("a cat,a kitten,4.5\nstocks,the rain,2.0\na,cat,0.5\n")
    arguments = ("evaluate", web, "--pairs", tmp_path / "pairs.csv", "--resamples", 20, "--json")

    def mean_cosine(original: Path) -> float:
        figures = lighttoken(*arguments, "--original", original).json["figures"]
        [cosine] = [figure for figure in figures if figure["metric"] == "cosine, mean"]
        return cosine["score"]["value"]

    assert 0.5 < mean_cosine(tiny_model) < 1
    for bundle in (web, tiny_bundle):
        assert mean_cosine(bundle) == pytest.approx(1)


def test_profile(lighttoken, web: Path, tiny_bundle: Path):
    few = ("--runs", 2, "--repeats", 2, "--length", 4, "--json")
    outcome = lighttoken("profile", web, "--against", tiny_bundle, "--against", web, *few)
    assert outcome.code == 0
    disk, same = (comparison["ratios"]["disk_bytes"] for comparison in outcome.json["comparisons"])
    assert disk == pytest.approx(1, rel=0.1)  # the pooling nodes
    assert same == 1


def test_every_verb_checks_the_files(fails, web: Path, tmp_path: Path):
    shutil.copytree(web, tmp_path / "copy")
    data = tmp_path / "copy" / "onnx" / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    copy = tmp_path / "copy"
    for command in (("inspect", copy), ("profile", copy, "--against", web), ("run", copy, "a cat")):
        assert "model.onnx_data was altered" in fails(*command)


def test_force_replaces_one_layout_by_the_other(lighttoken, web: Path, tiny_model, tmp_path: Path):
    shutil.copytree(web, tmp_path / "out")
    outcome = lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5, "--force")
    assert outcome.code == 0
    assert not (tmp_path / "out" / "onnx").exists()


def test_code_of_a_model_needs_a_word(fails, tiny_model: Path, tmp_path: Path):
    shutil.copytree(tiny_model, tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModel": "own.OwnModel"}}
    (tmp_path / "own" / "config.json").write_text(json.dumps(config))
    line = fails("export", tmp_path / "own", tmp_path / "out")
    assert "--trust-remote-code would run that repository's code here" in line


def test_what_cannot_be_pooled(fails, tiny_model: Path, tmp_path: Path):
    shutil.copytree(tiny_model, tmp_path / "plain")
    (tmp_path / "plain" / "modules.json").unlink()
    line = fails("export", tmp_path / "plain", tmp_path / "out", "--with-pooling", "--ratio", 5)
    assert "plain says nothing of pooling" in line
    assert not (tmp_path / "out").exists()


def test_the_name_that_dtype_q1_asks_for(lighttoken, tiny_model: Path, web: Path, tmp_path: Path):
    out = tmp_path / "out"
    outcome = lighttoken(
        "export", tiny_model, out, "--ratio", 5, "--structure", "transformers-js-q1", "--json"
    )
    assert outcome.json["model"] == "onnx/model_q1.onnx"
    assert {path.name for path in (out / "onnx").iterdir()} == {
        "model_q1.onnx",
        "model_q1.onnx_data",
    }
    told = json.loads((out / "config.json").read_text())["transformers.js_config"]
    assert told == {"use_external_data_format": True, "dtype": "q1"}
    texts = ("a cat sleeps", "a kitten naps")
    assert (
        lighttoken("run", out, *texts, "--json").json
        == lighttoken("run", web, *texts, "--json").json
    )
    assert lighttoken("inspect", out).code == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "transformers.js" in card
    assert "onnx/model_q1.onnx" in card
