"""Products of integers: rows by their own scale, weights decoded when a model is loaded."""

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
import onnxruntime as ort
import pytest

from exporters.passes.inline_functions import InlineFunctions
from exporters.passes.integer_products import IntegerProducts
from exporters.weights.products import find_products
from toolkit.graph.contract import WEIGHTS_DOMAIN
from toolkit.trellis import TRELLISES, round_by_trellis

FORMS = ["int8", *TRELLISES]
LIMITS = {"int8": 0.02, "trellis4": 0.12, "trellis3": 0.27, "trellis2": 0.42}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(graph, columns=64, outputs=24, opset=20):
    w = gaussian(columns, outputs)
    model = graph(
        f"(float[b, s, {columns}] x) => (float[b, s, {outputs}] y)", "y = MatMul(x, w)", w=w
    )
    model.opset_imports[""] = opset
    return model, w


def turned_to(model, form, calibration=()):
    IntegerProducts(find_products(model), calibration, form=form)(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return proto


def run(proto, x, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_values_stay_near(graph, form, opset):
    model, w = product(graph, opset=opset)
    x = gaussian(3, 5, 64, seed=1)
    assert 0 < relative(run(turned_to(model, form), x), x @ w) < LIMITS[form]


@pytest.mark.parametrize("form", TRELLISES)
@pytest.mark.parametrize(("columns", "outputs"), [(64, 24), (384, 30), (20, 7), (5, 13)])
def test_onnxruntime_decodes_the_very_integers(graph, form, columns, outputs):
    model, w = product(graph, columns, outputs)
    weight = round_by_trellis(np.ascontiguousarray(w.T), form=form)
    turned_to(model, form)
    InlineFunctions()(model)
    (node,) = [node for node in model.graph if node.op_type == "MatMulInteger"]
    matrix = node.inputs[1]
    matrix.dtype, matrix.shape = ir.DataType.INT8, ir.Shape([columns, outputs])
    model.graph.outputs[:] = [matrix]
    common_passes.RemoveUnusedNodesPass()(model)
    model.graph.inputs.clear()
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for options in (ort.SessionOptions(), plain):
        session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
        np.testing.assert_array_equal(session.run(None, {})[0], weight.integers().T)


@pytest.mark.parametrize("form", TRELLISES)
def test_codes_are_decoded_when_the_model_is_loaded(graph, tmp_path, form):
    model, _ = product(graph)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(turned_to(model, form).SerializeToString(), options)
    loaded = ir.load(tmp_path / "loaded.onnx")
    assert not {"Gather", "QLinearMatMul", "Pad"} & {node.op_type for node in loaded.graph}
    held = {value.const_value.dtype for value in loaded.graph.initializers.values()}
    assert ir.DataType.INT8 in held


@pytest.mark.parametrize("form", ["int8", "trellis4"])
def test_a_row_does_not_depend_on_the_others(graph, form):
    """One scale for all rows would leave the small ones few steps."""
    model, _ = product(graph)
    proto = turned_to(model, form)
    x = gaussian(2, 3, 64, seed=1)
    alone = run(proto, x)
    crowd = np.concatenate([x, 1000 * gaussian(2, 3, 64, seed=2)])
    np.testing.assert_array_equal(run(proto, crowd)[:2], alone)
    small = run(proto, x * np.float32(1e-6))
    np.testing.assert_allclose(small * 1e6, alone, rtol=1e-3, atol=1e-3)


def test_rows_of_zeros_give_zeros(graph):
    model, _ = product(graph)
    x = gaussian(1, 3, 64)
    x[0, 1] = 0
    y = run(turned_to(model, "int8"), x)
    assert np.isfinite(y).all()
    assert not y[0, 1].any()


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
@pytest.mark.parametrize("form", ["int8", "trellis3"])
def test_every_level_of_optimization_gives_the_same(graph, form, level):
    """onnxruntime joins products of integers with scales, and takes a row's scale for one number's
    where both scales are multiplied first."""
    model, _ = product(graph)
    proto = turned_to(model, form)
    x = gaussian(2, 9, 64, seed=1)
    found = run(proto, x, getattr(ort.GraphOptimizationLevel, level))
    np.testing.assert_allclose(found, run(proto, x), rtol=1e-5, atol=1e-5)


def test_a_column_that_stands_out_is_brought_to_size(graph):
    model, w = product(graph)
    x = gaussian(8, 16, 64, seed=1)
    x[..., 5] *= 200
    flat = x.reshape(-1, 64).astype(np.float64)
    moments = [{"x": flat.T @ flat}]
    others = np.arange(64) != 5
    wanted = x[..., others] @ w[others]

    def error(proto):  # of what the other columns give
        return relative(run(proto, x) - x[..., 5:6] * w[5], wanted)

    plain = error(turned_to(product(graph)[0], "int8"))
    assert error(turned_to(model, "int8", moments)) < 0.5 * plain


@pytest.mark.parametrize("form", ["int8", "trellis4"])
def test_a_weight_is_stored_and_decoded_once(graph, tmp_path, form):
    w, v = gaussian(32, 32), gaussian(32, 32, seed=1)
    model = graph(
        "(float[n, 32] x) => (float[n, 32] y)",
        "a = MatMul(x, w)\n b = MatMul(x, v)\n c = Add(a, b)\n y = MatMul(c, w)",
        w=w,
        v=v,
    )
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
    proto = turned_to(model, form)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(proto.SerializeToString(), options)
    held = ir.load(tmp_path / "loaded.onnx").graph.initializers.values()
    assert sum(value.const_value.dtype == ir.DataType.INT8 for value in held) == 2
    if form == "int8":  # x is rounded once for two products
        kinds = [node.op_type for node in proto.graph.node]
        assert kinds.count("QuantizeRows32") == 2
    x = gaussian(4, 32, seed=2)
    assert relative(run(proto, x), (x @ w + x @ v) @ w) < 0.25


@pytest.mark.parametrize("form", ["int8", "trellis4"])
def test_a_weight_that_several_layers_share_suits_all_their_inputs(graph, form):
    """Columns are brought to size for one input; another has others that stand out."""
    w = gaussian(32, 32) / np.float32(6)
    model = graph(
        "(float[n, 32] x) => (float[n, 32] y)",
        "a = MatMul(x, w)\n b = Mul(a, size)\n y = MatMul(b, w)",
        w=w,
        size=np.geomspace(0.01, 30, 32, dtype=np.float32),
    )
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
    x = gaussian(64, 32, seed=2) * np.geomspace(30, 0.01, 32, dtype=np.float32)
    b = (x @ w) * np.geomspace(0.01, 30, 32, dtype=np.float32)
    parts = ({"x": x.T.astype(np.float64) @ x}, {"b": b.T.astype(np.float64) @ b})
    for calibration in (parts, [parts[0] | parts[1]]):
        proto = turned_to(model.clone(), form, calibration)
        assert relative(run(proto, x), b @ w) < 0.25


@pytest.mark.parametrize("form", ["int8", "trellis4"])
def test_products_in_branches(graph, form):
    w = gaussian(32, 16)
    model = graph(
        "(float[n, 32] x, bool flag) => (float[n, 16] y)",
        """y = If(flag) <
            then_branch = yes () => (float[n, 16] a) { z = Abs(x)
                                                       a = MatMul(z, w) },
            else_branch = no () => (float[n, 16] b) { z = Neg(x)
                                                       b = MatMul(z, w) }
        >""",
        w=w,
    )
    for number, node in enumerate(model.graph.all_nodes()):
        node.name = f"n{number}"
    proto = turned_to(model, form)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = gaussian(4, 32, seed=2)
    for flag, wanted in ((True, np.abs(x) @ w), (False, -x @ w)):
        found = session.run(None, {"x": x, "flag": np.array(flag)})[0]
        assert relative(found, wanted) < LIMITS[form]


def test_a_bias_is_added_and_rows_may_lie_the_other_way(graph):
    w, bias = gaussian(16, 32), gaussian(16, seed=1)
    model = graph(
        "(float[n, 32] x) => (float[n, 16] y)", "y = Gemm<transB = 1>(x, w, b)", w=w, b=bias
    )
    x = gaussian(4, 32, seed=2)
    assert relative(run(turned_to(model, "int8"), x), x @ w.T + bias) < 0.02


def test_functions_can_be_inlined(graph):
    model, _ = product(graph)
    x = gaussian(2, 3, 64)
    proto = turned_to(model, "trellis4")
    InlineFunctions()(model)
    inlined = ir.to_proto(model)
    assert not inlined.functions
    assert WEIGHTS_DOMAIN not in {each.domain for each in inlined.opset_import}
    np.testing.assert_array_equal(run(inlined, x), run(proto, x))
