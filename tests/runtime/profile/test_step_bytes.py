"""Bytes that a token reads, of graphs whose bytes are known."""

import numpy as np
import onnx
import pytest

from runtime.profile.model import read_models
from runtime.profile.step_bytes import step_bytes

TABLE = 300 * 32 * 4
CACHE = 2 * 32 * 4  # keys and values of a token


def step_of(path):
    (model,) = read_models([path])
    return model.step


def test_a_table_that_the_head_shares_is_read_whole_and_once(decoder_file):
    step = step_of(decoder_file)
    assert step.table == TABLE
    assert step.cache == CACHE
    assert step.weights == 16  # two axes, one of them in a node
    assert step.after(10) == TABLE + step.weights + 10 * CACHE


def test_of_a_table_that_is_only_looked_up_a_row_is_read(decoder_file, tmp_path):
    model = onnx.load(decoder_file)
    (turned,) = (node for node in model.graph.node if node.op_type == "Transpose")
    own = onnx.numpy_helper.from_array(np.ones((32, 300), np.float16), "head")
    model.graph.initializer.append(own)
    turned.op_type, turned.input[0] = "Cast", "head"
    del turned.attribute[:]
    turned.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.FLOAT))
    path = tmp_path / "untied.onnx"
    onnx.save(model, path)
    step = step_of(path)
    assert step.table == 32 * 4
    assert step.weights == pytest.approx(300 * 32 * 2, abs=100)


def test_a_packed_table_is_read_whole_by_a_head_and_by_rows_else(layer_models, small_embedding):
    by_name = {path.stem: path for path in layer_models}
    whole = step_bytes(by_name["whole-logits"], ()).table
    assert whole == pytest.approx(small_embedding.nbytes, rel=0.02)
    assert 0 < step_bytes(by_name["whole-rows"], ()).table < whole / 20
