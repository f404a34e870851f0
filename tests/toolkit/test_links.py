"""Files that are links: copied for onnx, and told from files that are somewhere else."""

import os

import numpy as np
import onnx_ir as ir
import pytest

from toolkit.graph.load import load_graph
from toolkit.links import without_links

TABLE = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


@pytest.fixture
def model(graph, tmp_path):
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    built = graph("(int64[b,s] input_ids) => (float[b,s,6] y)", "y = Gather(t, input_ids)", t=TABLE)
    ir.save(built, path, external_data="model.onnx_data")
    return path


def table_of(path):
    return load_graph(path).graph.initializers["t"].const_value.numpy()


def test_a_model_without_links_stays_where_it_is(model, tmp_path):
    assert without_links(model, tmp_path / "work") == model
    assert not (tmp_path / "work").exists()


def test_a_model_of_the_hubs_cache_is_copied(model, hub_cache, tmp_path):
    linked = hub_cache(model.parent) / "model.onnx"
    with pytest.raises(ValueError, match="symlink"):
        table_of(linked)
    copies = [without_links(linked, tmp_path / "work") for _ in range(2)]
    assert copies[0] != copies[1]
    for copy in copies:
        assert copy.name == "model.onnx"
        np.testing.assert_array_equal(table_of(copy), TABLE)


def test_a_file_of_several_names_is_copied(model, tmp_path):
    os.link(model.with_name("model.onnx_data"), tmp_path / "second")
    with pytest.raises(ValueError, match="hard links"):
        table_of(model)
    np.testing.assert_array_equal(table_of(without_links(model, tmp_path / "work")), TABLE)


def test_a_link_to_the_model_alone_finds_the_data(model, tmp_path):
    (tmp_path / "link.onnx").symlink_to(model)
    copy = without_links(tmp_path / "link.onnx", tmp_path / "work")
    np.testing.assert_array_equal(table_of(copy), TABLE)


def test_what_cannot_be_copied_is_left_to_the_reader(model, tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    model.with_name("model.onnx_data").unlink()
    for path in (text, model):
        assert without_links(path, tmp_path / "work") == path
    assert not (tmp_path / "work").exists()
