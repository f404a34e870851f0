"""Models that onnxruntime cannot run here are held to their rows, and the bundle says so."""

import json

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from exporters import export
from exporters.tables import PackedTable
from exporters.verify.differences import CheckError
from exporters.verify.limits import not_here
from exporters.verify.rows import check_rows_alone
from toolkit import Budget, compress
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError

ROWS, WIDTH = 500, 32
BFLOAT16 = f"""
<ir_version: 9, opset_import: ["" : 17]>
g (int64[batch, length] input_ids) => (bfloat16[batch, length, {WIDTH}] last_hidden_state) {{
   rows = Gather (table, input_ids)
   last_hidden_state = MatMul (rows, weights)
}}
"""
ELSEWHERE = f"""
<ir_version: 9, opset_import: ["" : 17, "com.chip" : 1]>
g (int64[batch, length] input_ids) => (float[batch, length, {WIDTH}] last_hidden_state) {{
   rows = Gather (table, input_ids)
   last_hidden_state = com.chip.Engine (rows, weights)
}}
"""


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH))


@pytest.fixture(
    params=[(BFLOAT16, ml_dtypes.bfloat16, "MatMul"), (ELSEWHERE, np.float32, "Engine")]
)
def file(request, table, tmp_path):
    """A model for another provider, and the operator that the CPU's has not."""
    text, dtype, operator = request.param
    model = onnx.parser.parse_model(text)
    for name, values in {"table": table, "weights": np.eye(WIDTH)}.items():
        held = onnx.numpy_helper.from_array(values.astype(dtype), name)
        model.graph.initializer.append(held)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx", operator


def test_its_rows_are_checked_and_it_says_that_nothing_else_is(file, quick, tmp_path):
    path, operator = file
    notes = []
    manifest = export(
        str(path), tmp_path / "out", Budget(ratio=6), options=quick(), tell=notes.append
    )
    assert not manifest.parity.whole
    assert 0.1 < manifest.parity.compression < 6  # of the rows
    assert any(operator in note and "the rows of the table are checked" in note for note in notes)
    assert read_manifest(tmp_path / "out") == manifest
    written = json.loads((tmp_path / "out/lighttoken.json").read_text())
    assert written["parity"]["whole"] is False
    assert "The whole model was not run" in (tmp_path / "out/README.md").read_text()


def test_smaller_weights_are_refused(file, quick, tmp_path):
    path, operator = file
    with pytest.raises(InputError, match=f"{operator}.*use --weights fp32") as error:
        export(str(path), tmp_path / "out", Budget(ratio=6), options=quick(weights="int4"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_row_is_found_all_the_same(file, quick, table, tmp_path):
    path, _ = file
    export(str(path), tmp_path / "out", Budget(ratio=6), options=quick())
    other = compress(table[::-1].astype(np.float32), Budget(ratio=6))
    with pytest.raises(CheckError, match=r"the decode graph and lookup\(\) differ"):
        check_rows_alone(tmp_path / "out/model.onnx", path, [PackedTable("table", other)])


def test_other_errors_are_no_excuse():
    assert (
        not_here(CheckError("Could not find an implementation for MatMul(13) node")) == "MatMul(13)"
    )
    assert not_here(CheckError("Fatal error: com.x:Engine(-1) is not a registered function/op"))
    assert not_here(CheckError("Got invalid dimensions for input: input_ids")) == ""


def test_a_model_that_runs_says_nothing_of_it(exports_here, encoder_folder, quick, tmp_path):
    manifest = export(str(encoder_folder), tmp_path / "out", Budget(ratio=6), options=quick())
    assert manifest.parity.whole
    assert json.loads((tmp_path / "out/lighttoken.json").read_text())["parity"]["whole"]
