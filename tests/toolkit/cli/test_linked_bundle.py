"""Every verb takes a bundle, and a model, of which the hub's cache holds links."""

import json

import pytest

from runtime.web.files import bundle_files
from toolkit.bundle.manifest import read_manifest


@pytest.fixture
def linked(hub_cache, tiny_bundle):
    return hub_cache(tiny_bundle)


def test_inspect_run_and_profile(lighttoken, linked):
    assert lighttoken("inspect", linked).code == 0
    assert lighttoken("run", linked, "the cat sleeps", "a kitten naps").code == 0
    few = ("--runs", 2, "--repeats", 1, "--length", 4, "--nodes", "--predict", "coreml", "--json")
    outcome = lighttoken("profile", linked, *few)
    assert outcome.code == 0
    assert [subject["name"] for subject in outcome.json["subjects"]] == [linked.name]


def test_the_files_of_a_page_are_those_of_the_bundle(linked):
    files = bundle_files(linked, read_manifest(linked))
    assert all(path.is_file() for path in files.values())


def test_evaluate(lighttoken, linked, tiny_model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sleeps\na kitten naps\nthe stocks fell\nrain\n")
    outcome = lighttoken(
        "evaluate", linked, "--text", text, "--original", tiny_model, "--resamples", 20, "--json"
    )
    assert outcome.code == 0
    names = [model["name"] for model in outcome.json["models"]]
    assert names == ["original", linked.name]


def test_a_linked_model_is_exported_planned_and_compared(
    lighttoken, hub_cache, tiny_model, tmp_path
):
    from exporters.sources.source import load_source

    original = load_source(str(tiny_model), tmp_path / "onnx").path
    for name in ("config.json", "tokenizer.json"):
        (original.parent / name).write_bytes((tiny_model / name).read_bytes())
    source = hub_cache(original.parent) / "model.onnx"
    assert lighttoken("plan", source, "--ratios", "5", "--json").code == 0
    outcome = lighttoken("export", source, tmp_path / "out", "--ratio", 5, "--json")
    assert outcome.code == 0
    text = tmp_path / "text.txt"
    text.write_text("the cat sleeps\na kitten naps\nthe stocks fell\nrain\n")
    found = lighttoken(
        "evaluate",
        tmp_path / "out",
        "--text",
        text,
        "--against",
        "int8",
        "--resamples",
        20,
        "--json",
    )
    assert found.code == 0
    assert [model["name"] for model in found.json["models"]] == ["original", "out", "int8"]
    folder = tmp_path / "cache" / "lighttoken" / "originals"
    (entry,) = folder.iterdir()
    assert json.loads(entry.read_text()) == {"source": str(source)}
