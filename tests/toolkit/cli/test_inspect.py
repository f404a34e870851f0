from pathlib import Path

import pytest

from exporters import load_source


@pytest.fixture(scope="module")
def original(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load_source(str(tiny_model), tmp_path_factory.mktemp("work")).path


def test_a_plain_model_shows_its_tables(lighttoken, original: Path):
    found = lighttoken("inspect", original, "--json").json
    token_table = found["tables"][0]
    assert (token_table["rows"], token_table["width"]) == (600, 32)
    assert token_table["ids_input"] == "input_ids"
    assert found["packed"] == {}
    files = original.stat().st_size + original.with_name("model.onnx.data").stat().st_size
    assert found["model_bytes"] == files


def test_a_bundle_shows_its_packed_layer(lighttoken, tiny_bundle: Path):
    found = lighttoken("inspect", tiny_bundle, "--json").json
    assert list(found["packed"].values()) == [found["manifest"]["footprint"]["embedding_bytes"]]
    assert all((table["rows"], table["width"]) != (600, 32) for table in found["tables"])


def test_parts_and_graph_add_up(lighttoken, original: Path):
    found = lighttoken("inspect", original, "--json").json
    parts = sum(part["nbytes"] for part in found["parts"])
    assert parts + found["graph_bytes"] == found["model_bytes"]


def test_people_see_who_reads_the_table(lighttoken, original: Path):
    out = lighttoken("inspect", original, "--top", 2).out
    assert "600 x 32" in out
    assert "input_ids" in out


def test_no_model(fails, tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(b"\x00\x01")
    assert "no ONNX model" in fails("inspect", tmp_path / "x.onnx")
    assert "not here" in fails("inspect", tmp_path / "y.onnx")
