"""A layer's function takes floats of any type, and costs nothing where they are float32."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxruntime.transformers.float16 import convert_float_to_float16

from exporters.ops.float_types import take_float32
from exporters.ops.head import build_head_graph, head_model
from exporters.ops.lookup import build_decode_graph, decode_model
from toolkit.table.components import LowRank

LAYERS = {"ids": decode_model, "hidden": head_model}


@pytest.fixture(scope="module")
def everything(pack_table):
    return pack_table(
        137,
        11,
        dense=[(137, 13, 5), (90, 9, None)],
        columns=[(70, 8), (137, None)],
        rank=2,
        block=4,
        gained=137,
    )


@pytest.fixture(scope="module")
def floating(pack_table):
    """Its low-rank factors are float32."""
    table, rng = pack_table(500, 11, rank=3), np.random.default_rng(0)
    left, right = (rng.normal(size=s).astype(np.float32) for s in ((500, 3), (3, 11)))
    return replace(table, lowrank=LowRank(left, right))


def given(value, rows=137):
    if value == "ids":
        return np.arange(rows)[None]
    return np.random.default_rng(0).normal(size=(1, 5, 11)).astype(np.float32)


def optimized(model, path):
    """The graph that onnxruntime runs."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path).graph


@pytest.mark.parametrize("value", LAYERS)
@pytest.mark.parametrize("opset", [15, 18, 23])
def test_a_converter_makes_half_of_the_tensors_and_the_layer_runs(
    everything, run_model, value, opset
):
    model = LAYERS[value](everything, opset=opset)
    (wanted,) = run_model(model.SerializeToString(), **{value: given(value)})
    half = convert_float_to_float16(model, keep_io_types=True)
    assert not any(t.data_type == onnx.TensorProto.FLOAT for t in half.graph.initializer)
    (found,) = run_model(half.SerializeToString(), **{value: given(value)})
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("value", LAYERS)
def test_a_layer_of_half_precision_takes_them_too(everything, run_model, value):
    model = LAYERS[value](everything, dtype=ir.DataType.FLOAT16)
    feed = given(value) if value == "ids" else given(value).astype(np.float16)
    (wanted,) = run_model(model.SerializeToString(), **{value: feed})
    half = convert_float_to_float16(model)
    (found,) = run_model(half.SerializeToString(), **{value: feed})
    assert found.dtype == np.float16
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("value", LAYERS)
@pytest.mark.parametrize("table", ["everything", "floating"])
def test_onnxruntime_drops_the_casts(request, tmp_path, value, table):
    """It runs the nodes that it ran without them, on the stored tensors and no copies of them."""
    table = request.getfixturevalue(table)
    model = ir.from_proto(LAYERS[value](table))
    now = optimized(ir.to_proto(model), tmp_path / "now.onnx")
    for function in model.functions.values():
        take_float32(function)
    before = optimized(ir.to_proto(model), tmp_path / "before.onnx")
    for each in ("node", "initializer"):
        assert len(getattr(now, each)) == len(getattr(before, each))
    assert sorted(n.op_type for n in now.node) == sorted(n.op_type for n in before.node)
    assert sum(t.ByteSize() for t in now.initializer) <= 1.02 * sum(
        t.ByteSize() for t in before.initializer
    )


@pytest.mark.parametrize("build", [build_decode_graph, build_head_graph])
def test_it_can_be_undone(everything, build):
    function = build(everything, opset=18).function
    kinds = [node.op_type for node in function]
    assert kinds.count("CastLike") == 1
    take_float32(function)
    assert "CastLike" not in [node.op_type for node in function]
    floats = [v for v in function.inputs if v.name == "mean"]
    assert not any(user.op_type == "Cast" for value in floats for user, _ in value.uses())


@pytest.mark.parametrize("build", [build_decode_graph, build_head_graph])
def test_older_opsets_know_no_such_cast(everything, build):
    assert "CastLike" not in {n.op_type for n in build(everything, opset=14).function}
