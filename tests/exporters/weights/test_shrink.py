"""Bodies in fewer bits: which weights, how well, and that the tables to pack stay as they are."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters.options import FEW_BITS, WEIGHTS
from exporters.passes.quantize_products import QuantizeProducts
from exporters.passes.quantize_tables import QuantizeTables
from exporters.weights.calibration import Inputs, second_moments
from exporters.weights.products import Product, find_products
from exporters.weights.shrink import shrink_weights
from toolkit.errors import InputError
from toolkit.rounding import round_to_nearest

ROWS, WIDTH, INNER = 300, 32, 48
INPUTS = Inputs(("ids",), np.ones(ROWS))

# Token and position tables, a MatMul, a Gemm of weights by rows with a bias, and a head that
# shares the table.
SIGNATURE = f"(int64[b, s] ids) => (float[b, s, {ROWS}] logits)"
BODY = """
    shape = Shape(ids)
    one = Constant<value_int = 1>()
    length = Gather(shape, one)
    zero = Constant<value_int = 0>()
    places = Range(zero, length, one)
    tokens = Gather(table, ids)
    positions = Gather(wpe, places)
    x = Add(tokens, positions)
    wide = MatMul(x, up)
    active = Relu(wide)
    rows = Constant<value_ints = [-1, 48]>()
    flat = Reshape(active, rows)
    down_flat = Gemm<transB = 1>(flat, down, bias)
    back = Shape(x)
    y = Reshape(down_flat, back)
    turned = Transpose<perm = [1, 0]>(table)
    logits = MatMul(y, turned)
"""


def weights(seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return {
        "table": draw(ROWS, WIDTH),
        "wpe": draw(256, WIDTH),
        "up": draw(WIDTH, INNER) / 6,
        "down": draw(WIDTH, INNER) / 6,
        "bias": draw(WIDTH),
    }


@pytest.fixture
def model(graph):
    built = graph(SIGNATURE, BODY, **weights())
    for index, node in enumerate(built.graph):
        node.name = node.name or f"node{index}"
    return built


@pytest.fixture
def path(model, tmp_path):
    target = tmp_path / "model.onnx"
    ir.save(model, target)
    return target


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


KEPT = frozenset({"table"})


def ids(batch=3, length=11):
    return np.random.default_rng(5).integers(0, ROWS, (batch, length))


def run(path, feed=None):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": ids() if feed is None else feed})[0]


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def stored(path):
    model = ir.load(path)
    return {name: v.const_value.dtype.name for name, v in model.graph.initializers.items()}


@pytest.mark.parametrize(
    ("form", "limit"),
    [
        ("fp16", 2e-3),
        ("int8", 0.02),
        ("int4", 0.16),
        ("trellis4", 0.12),
        ("trellis3", 0.28),
        ("trellis2", 0.42),
    ],
)
def test_a_smaller_body_gives_nearly_the_same(path, work, form, limit):
    out = shrink_weights(path, work, form, INPUTS, kept=KEPT, group_size=16)
    onnx.checker.check_model(str(out))
    difference = relative(run(out), run(path))
    assert 0 < difference < limit
    assert run(out).dtype == np.float32
    types = stored(out)
    if form == "fp16":
        assert "FLOAT" not in {types[name] for name in ("table", "up", "down", "wpe")}
    else:
        assert types["table"] == "FLOAT"
        assert not {"up", "down", "wpe"} & set(types)


def test_nothing_to_do_gives_the_file_back(path, work):
    assert shrink_weights(path, work, "fp32", INPUTS, kept=KEPT) == path
    assert not list(work.iterdir())


def test_a_head_is_quantized_alone(path, work):
    def heads(model):
        node = next(node for node in model.graph if node.outputs[0].name == "logits")
        return [Product(node, model.graph.initializers["table"], by_rows=True)]

    out = shrink_weights(path, work, "fp32", INPUTS, kept=KEPT, heads=heads)
    model = ir.load(out)
    assert [node.op_type for node in model.graph].count("MatMulNBits") == 1
    assert not any(node.op_type == "Transpose" for node in model.graph)
    assert stored(out)["table"] == "FLOAT"  # the look-up reads it
    assert 0 < relative(run(out), run(path)) < 0.1


def test_products_with_weights_are_found(model):
    found = find_products(model, KEPT)
    assert [(p.weight.name, p.shape, p.by_rows) for p in found] == [
        ("up", (INNER, WIDTH), False),
        ("down", (WIDTH, INNER), True),
    ]
    assert found[1].bias.name == "bias"


@pytest.mark.parametrize(
    "line",
    [
        "logits = Gemm<alpha = 2.0>(x, w)",
        "logits = Gemm<transA = 1>(x, w)",
        "logits = MatMul(w, x)",
        "extra = Identity(w)\n other = MatMul(x, w)\n logits = Add(other, extra)",
    ],
)
def test_other_products_are_left_alone(graph, line):
    w = np.eye(4, dtype=np.float32)
    assert find_products(graph("(float[4, 4] x) => (float[4, 4] logits)", line, w=w)) == []


def test_a_shared_weight_is_stored_once(graph):
    w = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    model = graph(
        "(float[n, 32] x) => (float[n, 32] y)", "h = MatMul(x, w)\n y = MatMul(h, w)", w=w
    )
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    QuantizeProducts(find_products(model), bits=8, group_size=32)(model)
    assert sorted(model.graph.initializers) == ["w.packed", "w.scales"]
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    x = np.random.default_rng(1).normal(size=(3, 32)).astype(np.float32)
    assert relative(session.run(None, {"x": x})[0], x @ w @ w) < 0.03


@pytest.mark.parametrize("columns", [7, 16, 40, 100])
@pytest.mark.parametrize("bits", [4, 8])
def test_onnxruntime_reads_what_the_codes_stand_for(graph, columns, bits):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(columns, 24)).astype(np.float32)
    model = graph(f"(float[n, {columns}] x) => (float[n, 24] y)", "y = MatMul(x, w)", w=w)
    QuantizeProducts(find_products(model), bits=bits, group_size=32)(model)
    (node,) = [node for node in model.graph if node.op_type == "MatMulNBits"]
    # Sums in float32 here, so that the codes alone are compared.
    node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 1)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    x = rng.normal(size=(5, columns)).astype(np.float32)
    size = node.attributes["block_size"].as_int()
    weight = round_to_nearest(np.ascontiguousarray(w.T), bits=bits, group_size=size)
    half = replace(weight, scales=weight.scales.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ half.dense().T, atol=1e-4)


def test_scales_are_stored_in_half_precision_and_read_in_float32(graph, tmp_path):
    w = np.random.default_rng(0).normal(size=(32, 24)).astype(np.float32)
    model = graph("(float[n, 32] x) => (float[n, 24] y)", "y = MatMul(x, w)", w=w)
    QuantizeProducts(find_products(model), bits=4, group_size=32)(model)
    assert model.graph.initializers["w.scales"].const_value.dtype == ir.DataType.FLOAT16
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    assert [node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph] == ["MatMulNBits"]


def test_scales_that_half_precision_cannot_hold_stay_as_they_are(graph):
    w = np.random.default_rng(0).normal(size=(32, 24)).astype(np.float32) * np.float32(1e-8)
    model = graph("(float[n, 32] x) => (float[n, 24] y)", "y = MatMul(x, w)", w=w)
    QuantizeProducts(find_products(model), bits=4, group_size=32)(model)
    assert model.graph.initializers["w.scales"].const_value.dtype == ir.DataType.FLOAT
    assert [node.op_type for node in model.graph] == ["MatMulNBits"]


def test_moments_are_those_of_what_products_read(path, tmp_path):
    moments = {}
    for part in second_moments(path, {"x": WIDTH, "flat": INNER}, INPUTS):
        moments |= part
    assert {name: m.shape for name, m in moments.items()} == {"x": (32, 32), "flat": (48, 48)}
    table, positions = weights()["table"], weights()["wpe"][:64]
    # Texts of 8, 16, 32 and 64 tokens, as many tokens of each.
    share = sum((np.arange(64) < length) / length for length in (8, 16, 32, 64)) / 4
    expected = table.T @ table / ROWS + (positions.T * share) @ positions
    count = 32 * 8 * 64
    near = moments["x"] / count
    mean = np.outer(table.mean(0), share @ positions)
    np.testing.assert_allclose(near, expected + mean + mean.T, atol=0.12)
    assert (np.linalg.eigvalsh(moments["flat"]) > -1e-3).all()


def test_drawn_texts_are_framed_as_the_tokenizer_frames_them(path):
    """Attention sees the beginning of each text in every token of it."""
    inputs = replace(INPUTS, before=(7,), after=(9, 3))
    shapes = ((4, 8), (2, 3), (5, 2))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = [feeds["ids"] for feeds in inputs.feeds(session, 4, shapes)]
    assert [ids.shape for ids in fed] == [*shapes, shapes[0]]
    for ids in (fed[0], fed[3]):
        assert (ids[:, 0] == 7).all()
        assert (ids[:, -2:] == [9, 3]).all()
        assert len(np.unique(ids[:, 1:-2])) > 5
    assert len(np.unique(fed[1])) > 3, "too short for a frame: drawn as they are"


def test_moments_of_a_text_are_of_its_windows(path):
    text = np.array([7, 3, 7, 3] * 40)
    parts = second_moments(path, {"tokens": WIDTH}, Inputs(("ids",), np.ones(ROWS), text))
    moments = next(iter(parts))["tokens"] / (32 * 8 * 64)
    rows = weights()["table"][[7, 3]]
    np.testing.assert_allclose(moments, rows.T @ rows / 2, atol=1e-3)


def test_texts_are_fed_from_their_beginning_on(path):
    """A decoder is lost without the token that texts begin with."""
    texts = np.tile(np.array([9] + [4] * 127), (3, 1))
    (moments,) = second_moments(path, {"tokens": WIDTH}, Inputs(("ids",), np.ones(ROWS), texts))
    table = weights()["table"].astype(np.float64)
    first, later = (np.outer(table[id_], table[id_]) for id_ in (9, 4))
    calls = moments["tokens"].trace() / (first.trace() + 63 * later.trace())
    assert np.allclose(moments["tokens"], calls * (first + 63 * later), rtol=1e-4)


def test_a_text_shorter_than_a_window_is_repeated(path):
    parts = second_moments(path, {"tokens": WIDTH}, Inputs(("ids",), np.ones(ROWS), np.array([5])))
    row = weights()["table"][[5]]
    count = 32 * 8 * 64
    np.testing.assert_allclose(next(iter(parts))["tokens"] / count, row.T @ row, atol=1e-3)


def test_moments_that_do_not_fit_together_come_in_parts(path, monkeypatch):
    monkeypatch.setattr("exporters.weights.calibration._AT_ONCE", 1)
    parts = list(second_moments(path, {"x": WIDTH, "flat": INNER}, INPUTS))
    assert [sorted(part) for part in parts] == [["x"], ["flat"]]


def test_rounding_by_outputs_beats_rounding_to_nearest(path, work, tmp_path):
    aware = shrink_weights(path, work, "int4", INPUTS, kept=KEPT, group_size=32)
    plain = ir.load(path)
    QuantizeTables(KEPT)(plain)
    QuantizeProducts(find_products(plain, KEPT), group_size=32)(plain)
    ir.save(plain, tmp_path / "plain.onnx")
    wanted = run(path)
    assert relative(run(aware), wanted) < 0.95 * relative(run(tmp_path / "plain.onnx"), wanted)


def test_other_tables_hold_bytes_and_are_not_unpacked(model, tmp_path):
    QuantizeTables(KEPT)(model)
    ir.save(model, tmp_path / "small.onnx")
    types = stored(tmp_path / "small.onnx")
    assert types["wpe.codes"] == "UINT8"
    assert types["table"] == "FLOAT"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(tmp_path / "small.onnx"), options, ["CPUExecutionProvider"])
    sizes = {
        name: value.const_value.nbytes
        for name, value in ir.load(tmp_path / "optimized.onnx").graph.initializers.items()
    }
    # The head's Transpose of the table is folded, as it is without us.
    assert sum(size for name, size in sizes.items()) < 2 * ROWS * WIDTH * 4 + 256 * WIDTH + 20_000


@pytest.mark.parametrize("change", ["small", "read otherwise", "kept"])
def test_some_tables_are_left_alone(graph, change):
    rows = 16 if change == "small" else 256
    w = np.ones((rows, 32), np.float32)
    extra = "z = Identity(w)\n y = Add(x, z)" if change == "read otherwise" else "y = Identity(x)"
    model = graph("(int64[256] ids) => (float[256, 32] y)", f"x = Gather(w, ids)\n {extra}", w=w)
    QuantizeTables(frozenset({"w"} if change == "kept" else ()))(model)
    assert list(model.graph.initializers) == ["w"]


def test_a_column_of_zeros_stays_zero(graph):
    w = np.random.default_rng(0).normal(size=(256, 32)).astype(np.float32)
    w[:, 3] = 0
    model = graph("(int64[n] ids) => (float[n, 32] y)", "y = Gather(w, ids)", w=w)
    model.graph[0].name = "look"
    QuantizeTables(frozenset())(model)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    rows = session.run(None, {"ids": np.arange(256)})[0]
    assert not rows[:, 3].any()
    np.testing.assert_allclose(rows, w, atol=np.ptp(w, axis=0).max() / 509)


@pytest.mark.parametrize("form", FEW_BITS)
def test_a_model_without_float_products_is_refused(graph, tmp_path, work, form):
    w = np.ones((256, 32), np.float16)
    ir.save(
        graph("(int64[n] ids) => (float16[n, 32] y)", "y = Gather(w, ids)", w=w), tmp_path / "m"
    )
    with pytest.raises(InputError, match="no product with float32 weights"):
        shrink_weights(tmp_path / "m", work, form, INPUTS, kept=KEPT)


def test_what_is_not_there_is_refused_in_one_line(path, work):
    with pytest.raises(InputError, match=f"choose from {', '.join(WEIGHTS)}"):
        shrink_weights(path, work, "int3", INPUTS, kept=KEPT)
    with pytest.raises(InputError, match="a group size of 48 is not possible"):
        shrink_weights(path, work, "int4", INPUTS, kept=KEPT, group_size=48)
