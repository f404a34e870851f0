import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from exporters.passes.compress_head import CompressHead
from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from runtime.profile.file_bytes import parts
from toolkit.errors import FormatError
from toolkit.graph.files import model_files

HEADER = '<ir_version: 9, opset_import: ["" : 18]>'
TABLE = np.arange(400, dtype=np.float32).reshape(100, 4)
PLACES = np.arange(80, dtype=np.float32).reshape(20, 4)
WEIGHT = np.arange(28, dtype=np.float32).reshape(4, 7)

MODEL = """g (int64[b,s] input_ids, int64[b,s] position_ids) => (float[b,s,7] y) {
    rows = Gather(table, input_ids)
    places = Gather(positions, position_ids)
    sums = Add(rows, places)
    y = MatMul(sums, weight) }"""


def build(graph=MODEL, **tensors):
    model = onnx.parser.parse_model(f"{HEADER} {graph}")
    for name, array in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def whole(path):
    return sum(file.stat().st_size for file in model_files(path))


@pytest.mark.parametrize("external", [False, True])
def test_each_tensor_is_for_something_and_all_adds_up(tmp_path, external):
    path = tmp_path / "model.onnx"
    model = build(table=TABLE, positions=PLACES, weight=WEIGHT)
    onnx.save(model, path, save_as_external_data=external, location="data", size_threshold=0)
    found = parts(path)
    assert list(found) == ["token table", "other tables", "weights", "graph"]
    assert found["token table"] == TABLE.nbytes
    assert found["other tables"] == PLACES.nbytes
    assert found["weights"] == WEIGHT.nbytes
    assert 0 < found["graph"] == whole(path) - TABLE.nbytes - PLACES.nbytes - WEIGHT.nbytes


def test_what_aligns_tensors_in_their_file_is_no_tensors(tmp_path):
    path = tmp_path / "model.onnx"
    model = build(table=TABLE, positions=PLACES, weight=WEIGHT)
    onnx.save(model, path, save_as_external_data=True, location="data", size_threshold=0)
    before = parts(path)
    with (tmp_path / "data").open("ab") as file:
        file.write(bytes(100))
    assert parts(path) == before | {"graph": before["graph"] + 100}


def test_the_caller_names_the_input_for_ids(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build(table=TABLE, positions=PLACES, weight=WEIGHT), path)
    found = parts(path, "position_ids")
    assert (found["token table"], found["other tables"]) == (PLACES.nbytes, TABLE.nbytes)


def test_a_table_that_a_head_shares_counts_once(tmp_path):
    path = tmp_path / "model.onnx"
    graph = """g (int64[b,s] input_ids) => (float[b,s,100] y) {
        rows = Gather(table, input_ids)
        turned = Transpose(table)
        y = MatMul(rows, turned) }"""
    onnx.save(build(graph, table=TABLE), path)
    assert parts(path) == {
        "token table": TABLE.nbytes,
        "other tables": 0,
        "weights": 0,
        "graph": whole(path) - TABLE.nbytes,
    }


@pytest.mark.parametrize("names", [("again", "table"), ("table", "again")])
def test_two_names_of_one_place_in_a_file_count_once(tmp_path, names):
    path = tmp_path / "model.onnx"
    graph = """g (int64[b,s] input_ids) => (float[b,s,4] y) {
        rows = Gather(table, input_ids)
        y = Mul(rows, again) }"""
    model = build(graph, **dict.fromkeys(names, TABLE))
    (tmp_path / "data").write_bytes(TABLE.tobytes())
    for tensor in model.graph.initializer:
        set_external_data(tensor, "data", 0, TABLE.nbytes)
        tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    found = parts(path)
    assert (found["token table"], found["weights"]) == (TABLE.nbytes, 0)
    assert sum(found.values()) == whole(path)


def test_quantised_tables_count_with_their_scales(tmp_path):
    path = tmp_path / "model.onnx"
    graph = """g (int64[b,s] input_ids) => (float[b,s,4] y) {
        codes = Gather(table, input_ids)
        y = DequantizeLinear(codes, scale, zero) }"""
    scale, zero = np.array(0.1, np.float32), np.array(1, np.uint8)
    onnx.save(build(graph, table=TABLE.astype(np.uint8), scale=scale, zero=zero), path)
    assert parts(path)["token table"] == 400 + 4 + 1


def test_tensors_in_constants_and_in_fields_of_their_type_count(tmp_path):
    path = tmp_path / "model.onnx"
    model = build(table=TABLE, positions=PLACES)
    held = onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, [4, 7], WEIGHT.ravel().tolist())
    assert held.float_data
    constant = onnx.helper.make_node("Constant", [], ["weight"], value=held)
    model.graph.node.insert(0, constant)
    onnx.save(model, path)
    found = parts(path)
    assert WEIGHT.nbytes <= found["weights"] <= WEIGHT.nbytes + 8  # and the field's own length
    assert sum(found.values()) == whole(path)


@pytest.mark.parametrize(
    ("make", "part"), [(decode_model, "token table"), (head_model, "output head")]
)
def test_every_packed_tensor_is_the_tables_or_the_heads(tmp_path, small_embedding, make, part):
    path = tmp_path / "model.onnx"
    model = make(small_embedding)
    path.write_bytes(model.SerializeToString())
    found = parts(path)
    held = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    body = [
        numpy_helper.to_array(attribute.t)
        for node in model.functions[0].node
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    held += [array for array in body if array.size > 16]  # a head's order of rows
    assert found[part] == sum(array.nbytes for array in held)
    assert found["weights"] < 100  # limits and shapes
    assert sum(found.values()) == whole(path)


def test_other_tensors_beside_packed_ones_are_weights(tmp_path, small_embedding):
    path = tmp_path / "model.onnx"
    model = decode_model(small_embedding)
    table = sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    for name in ("weight", "stages", "meaning"):
        model.graph.initializer.append(numpy_helper.from_array(WEIGHT, name))
    path.write_bytes(model.SerializeToString())
    found = parts(path, "ids")
    assert found["token table"] == table
    assert found["weights"] >= 3 * WEIGHT.nbytes


def test_a_bundles_table_is_the_one_that_its_ids_look_up(bundle):
    manifest = json.loads((bundle / "lighttoken.json").read_text())
    found = parts(bundle / manifest["model"], manifest["ids_input"])
    assert found["token table"] == manifest["rows"] * manifest["width"] * 4
    assert found["weights"] == 0


def test_no_model_and_no_data_are_told(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08nothing of the kind")
    with pytest.raises(FormatError, match="no ONNX model"):
        parts(path)
    onnx.save(
        build(table=TABLE, positions=PLACES, weight=WEIGHT),
        path,
        save_as_external_data=True,
        location="data",
        size_threshold=0,
    )
    Path(tmp_path / "data").unlink()
    with pytest.raises(FormatError, match="missing"):
        parts(path)
    (tmp_path / "model.ort").write_bytes(b"ORTM")
    with pytest.raises(FormatError, match=r"\.ort file"):
        parts(tmp_path / "model.ort")


@pytest.mark.parametrize("inline", [False, True])
def test_a_head_of_its_own_is_counted_apart(graph, pack_table, tmp_path, inline):
    """Dense or packed, and whatever the table's bytes are."""
    rng = np.random.default_rng(0)
    table, matrix = rng.normal(size=(2, 300, 8)).astype(np.float32)
    packed = {name: pack_table(300, 8, dense=[(300, 16, 5)]) for name in ("t", "m")}
    body = "x = Gather(t, input_ids) logits = MatMul(x, m)"
    signature = "(int64[b,s] input_ids) => (float[b,s,300] logits)"
    model = graph(signature, body, t=table, m=matrix.T.copy())
    ir.save(model, tmp_path / "dense.onnx", external_data="dense.data")
    before = parts(tmp_path / "dense.onnx")
    assert list(before) == ["token table", "other tables", "output head", "weights", "graph"]
    assert (before["token table"], before["output head"]) == (table.nbytes, matrix.nbytes)
    CompressHead("m", packed["m"])(model)
    CompressTable("t", packed["t"])(model)
    if inline:
        InlineFunctions()(model)
    ir.save(model, tmp_path / "packed.onnx")
    after = parts(tmp_path / "packed.onnx")
    held = {"t": 0, "m": 0, "_": 0}
    for name, value in model.graph.initializers.items():
        held[name[0] if name[1:2] == "." else "_"] += value.const_value.nbytes
    assert (after["token table"], after["output head"]) == (held["t"], held["m"])
    assert held["m"] < before["output head"]
    assert sum(after.values()) == whole(tmp_path / "packed.onnx")
