"""What onnxruntime's tools make of a decoder whose head shares the token table."""

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters.comparisons.quantised import made_of


def run(path, ids):
    session = onnxruntime.InferenceSession(path)
    empty = np.zeros((1, 1, 0, 32), np.float32)
    cache = {f"past_key_values.0.{kind}": empty for kind in ("key", "value")}
    return session.run(
        ["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids), **cache}
    )[0]


def test_int4_is_of_the_table_and_of_the_head(decoder_file, tmp_path):
    path = made_of("int4", decoder_file, tmp_path, called="it")
    graph = onnx.load(path).graph
    by_type = {node.op_type: node for node in graph.node}
    assert {"GatherBlockQuantized", "MatMulNBits"} <= by_type.keys()
    assert not {"Gather", "MatMul", "Transpose"} & by_type.keys()
    told = {a.name: a.i for a in by_type["MatMulNBits"].attribute}
    assert (told["bits"], told["block_size"], told["accuracy_level"]) == (4, 32, 4)
    assert max(t.ByteSize() for t in graph.initializer) < 300 * 32  # bytes: nothing dense is left
    ids = np.array([[5, 200, 31, 7]])
    wanted, found = run(decoder_file, ids), run(path, ids)
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert 0 < error < 0.2


def test_a_matrix_that_others_read_too_stays(decoder_file, tmp_path):
    model = onnx.load(decoder_file)
    (turned,) = (node for node in model.graph.node if node.op_type == "Transpose")
    model.graph.node.append(onnx.helper.make_node("Neg", ["table"], ["negative"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("negative", 1, [300, 32]))
    assert turned.input[0] == "table"
    source, work = tmp_path / "source.onnx", tmp_path / "work"
    work.mkdir()
    onnx.save(model, source)
    path = made_of("int4", source, work, called="it")
    rows = onnxruntime.InferenceSession(path).run(
        ["negative"],
        {
            "input_ids": np.array([[1]]),
            "attention_mask": np.array([[1]]),
            "past_key_values.0.key": np.zeros((1, 1, 0, 32), np.float32),
            "past_key_values.0.value": np.zeros((1, 1, 0, 32), np.float32),
        },
    )[0]
    assert -rows == pytest.approx(onnx.numpy_helper.to_array(model.graph.initializer[0]))
