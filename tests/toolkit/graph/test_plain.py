"""Look-ups in many forms: each is found, holds the same table, and gives the same values."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from exporters import ExportOptions, export
from runtime import open_session
from toolkit import Budget, LightTokenConfig
from toolkit.errors import InputError
from toolkit.graph.plain import load_plain, make_plain
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_token_table

ROWS, WIDTH = 300, 16
RNG = np.random.default_rng(3)
TABLE = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
INTEGERS = RNG.integers(-128, 128, (ROWS, WIDTH)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, (ROWS, 1)).astype(np.float32)
POINTS = RNG.integers(-5, 5, (ROWS, 1)).astype(np.int8)
IDS = "(int64[b, s] input_ids) => (float[b, s, d] y)"

# Each makes y of input_ids and w; what it looks up.
FORMS = {
    "GatherND": ("at = Unsqueeze(input_ids, last) y = GatherND(w, at)", {"last": [-1]}, TABLE),
    "columns": (
        "z = Gather<axis = 1>(turned, input_ids) y = Transpose<perm = [1, 2, 0]>(z)",
        {"turned": TABLE.T.copy()},
        TABLE,
    ),
    "one-hot": (
        "hot = OneHot<axis = -1>(input_ids, depth, off_on) y = MatMul(hot, w)",
        {"depth": np.array([ROWS]), "off_on": np.array([0, 1], np.float32)},
        TABLE,
    ),
    "scaled table": (
        "s = Mul(w, four) y = Gather(s, input_ids)",
        {"four": np.float32(4)},
        4 * TABLE,
    ),
    "added rows": (
        "all = Concat<axis = 0>(w, more) y = Gather(all, input_ids)",
        {"more": TABLE[:7] + 1},
        np.concatenate([TABLE, TABLE[:7] + 1]),
    ),
    "integers by hand": (
        "f = Cast<to = 1>(q) s = Mul(f, scales) y = Gather(s, input_ids)",
        {"q": INTEGERS, "scales": SCALES},
        INTEGERS * SCALES,
    ),
    "scales that are gathered": (
        "r = Gather(q, input_ids) f = Cast<to = 1>(r) s = Gather(scales, input_ids) y = Mul(f, s)",
        {"q": INTEGERS, "scales": SCALES},
        INTEGERS * SCALES,
    ),
    "zero points too": (
        "r = Gather(q, input_ids) f = Cast<to = 1>(r) p = Gather(points, input_ids) "
        "g = Cast<to = 1>(p) n = Sub(f, g) s = Gather(scales, input_ids) y = Mul(n, s)",
        {"q": INTEGERS, "scales": SCALES, "points": POINTS},
        (INTEGERS.astype(np.float32) - POINTS) * SCALES,
    ),
}


def tensors(given, body):
    held = {name: np.asarray(values) for name, values in given.items()}
    return held | ({"w": TABLE} if "w" in re.findall(r"\w+", body) else {})


@pytest.mark.parametrize("form", FORMS)
def test_the_table_is_found_and_the_values_stay(graph, run_model, form):
    body, given, wanted = FORMS[form]
    before, after = (graph(IDS, body, **tensors(given, body)) for _ in range(2))
    assert make_plain(after) == 1
    table = find_token_table(after.graph)
    assert (table.rows, table.width, table.ids_input) == (*wanted.shape, "input_ids")
    np.testing.assert_allclose(table_values(table), wanted, rtol=1e-6)
    ids = np.arange(ROWS).reshape(3, -1)
    got, expected = run_model(after, input_ids=ids)[0], run_model(before, input_ids=ids)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_exported_and_checked_against_the_file(graph, tmp_path, form):
    body, given, wanted = FORMS[form]
    ir.save(graph(IDS, body, **tensors(given, body)), tmp_path / "model.onnx")
    options = ExportOptions(config=LightTokenConfig(rounds=1))
    manifest = export(
        str(tmp_path / "model.onnx"), tmp_path / "out", Budget(ratio=2), options=options
    )
    assert (manifest.rows, manifest.width) == wanted.shape
    ids = np.array([[3, ROWS - 1, 0]])
    (found,) = open_session(tmp_path / "out").run({"input_ids": ids}, ["y"]).values()
    apart = np.linalg.norm(found[0] - wanted[ids[0]]) / np.linalg.norm(wanted[ids[0]])
    assert apart < 0.5


def test_functions_of_the_model_are_looked_into(run_model):
    body = [onnx.helper.make_node("Gather", ["weight", "ids"], ["rows"])]
    opset = [onnx.helper.make_opsetid("", 17)]
    function = onnx.helper.make_function(
        "nn", "Embedding", ["weight", "ids"], ["rows"], body, opset
    )
    node = onnx.helper.make_node("Embedding", ["w", "input_ids"], ["y"], domain="nn")
    ids = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "s"])
    rows = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["b", "s", WIDTH])
    held = [onnx.numpy_helper.from_array(TABLE, "w")]
    main = onnx.helper.make_graph([node], "main", [ids], [rows], held)
    opsets = [*opset, onnx.helper.make_opsetid("nn", 1)]
    proto = onnx.helper.make_model(main, functions=[function], opset_imports=opsets, ir_version=9)
    model = ir.from_proto(proto)
    assert make_plain(model) == 1
    assert find_token_table(model.graph).rows == ROWS
    at = np.array([[1, 7]])
    assert np.array_equal(run_model(model, input_ids=at)[0], TABLE[at])


def test_embed_layer_normalization_is_taken_apart(graph, run_model, tmp_path):
    gamma, beta = (RNG.normal(size=WIDTH).astype(np.float32) for _ in range(2))
    given = {"words": TABLE, "places": TABLE[:40] + 1, "kinds": TABLE[:2] * 2}
    vi = onnx.helper.make_tensor_value_info
    inputs = ["input_ids", "token_type_ids", *given, "gamma", "beta"]
    node = onnx.helper.make_node(
        "EmbedLayerNormalization", inputs, ["y", ""], domain="com.microsoft", epsilon=1e-5, name="e"
    )
    held = given | {"gamma": gamma, "beta": beta}
    main = onnx.helper.make_graph(
        [node],
        "main",
        [vi(name, onnx.TensorProto.INT32, ["b", "s"]) for name in inputs[:2]],
        [vi("y", onnx.TensorProto.FLOAT, ["b", "s", WIDTH])],
        [onnx.numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    proto = onnx.helper.make_model(main, opset_imports=opsets, ir_version=9)
    onnx.save(proto, tmp_path / "model.onnx")
    model = load_plain(tmp_path / "model.onnx")
    assert find_token_table(model.graph).name == "words"
    ids = RNG.integers(0, ROWS, (2, 9)).astype(np.int32)
    feeds = {"input_ids": ids, "token_type_ids": (ids % 2).astype(np.int32)}
    wanted = run_model(proto.SerializeToString(), **feeds)[0]
    np.testing.assert_allclose(run_model(model, **feeds)[0], wanted, atol=1e-5)


def test_what_reads_ids_in_another_way_is_named(graph):
    body = "y = Gather<axis = 1>(w, input_ids)"
    model = graph("(int64[s] input_ids) => (float[r, s] y)", body, w=TABLE)
    make_plain(model)  # each of sixteen columns is one token's: a table of 16 rows
    assert find_token_table(model.graph).rows == WIDTH
    other = graph(
        "(int64[b, s] input_ids) => (float[b, s, d] y)",
        "n = NonZero(input_ids) c = ReduceSum(n) y = Gather(w, c)",
        w=TABLE,
    )
    with pytest.raises(InputError, match=r"w \(300 x 16\) is looked up by what ReduceSum gives"):
        find_token_table(other.graph)
