"""Rows that stay as they are, beside the packed ones."""

import json

import numpy as np
import onnxruntime as ort
import pytest

from exporters import export
from exporters.exact import MOST, ExactRows, exact_rows, without
from toolkit import Budget
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import BudgetError, InputError
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_token_table

VALUES = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)


@pytest.fixture
def model(graph, tmp_path):
    """A file whose output is what it looks up."""
    import onnx_ir as ir

    signature = "(int64[b,s] input_ids) => (float[b,s,16] y)"
    ir.save(graph(signature, "y = Gather(t, input_ids)", t=VALUES), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def looked_up(path, ids):
    (rows,) = ort.InferenceSession(path).run(None, {"input_ids": np.array([ids])})
    return rows[0]


@pytest.mark.parametrize("asked", [{}, {"decode": "inline"}, {"target": "webgpu"}])
def test_named_rows_are_given_as_they_are(model, quick, tmp_path, asked):
    options = quick(exact_rows="3, 10-12", **asked)
    manifest = export(str(model), tmp_path / "out", Budget(ratio=5), options=options)
    path = tmp_path / "out" / "model.onnx"
    exact = [3, 10, 11, 12]
    np.testing.assert_array_equal(looked_up(path, exact), VALUES[exact])
    from_the_end = [each - 400 for each in exact]
    np.testing.assert_array_equal(looked_up(path, from_the_end), VALUES[exact])
    packed = looked_up(path, [0, 9, 13, 399])
    assert not np.array_equal(packed, VALUES[[0, 9, 13, 399]])
    assert np.isfinite(packed).all()
    assert manifest.footprint.by_part["exact.rows"] == 2 * 4 * 16 * 4
    assert manifest.footprint.ratio >= 5
    assert manifest.parity.lookup < 1e-5


def test_the_packed_rows_are_those_of_a_smaller_budget(model, quick, tmp_path):
    taken = exact_rows("3", VALUES, tmp_path / "tokenizer.json").nbytes
    export(str(model), tmp_path / "a", Budget(ratio=5), options=quick(exact_rows="3"))
    least = Budget(max_bytes=400 * 16 * 4 // 5 - taken)
    export(str(model), tmp_path / "b", least, options=quick())
    ids = [0, 1, 2, 4, 399]
    a, b = (looked_up(tmp_path / name / "model.onnx", ids) for name in "ab")
    np.testing.assert_array_equal(a, b)


def test_special_tokens_by_the_tokenizer(encoder_folder, quick, tmp_path):
    options = quick(exact_rows="special")
    export(
        str(encoder_folder),
        tmp_path / "out",
        Budget(ratio=4),
        options=options,
        keep_original=tmp_path,
    )
    use = find_token_table(load_plain(tmp_path / "original" / "model.onnx").graph)
    dense = table_values(use)
    added = json.loads((encoder_folder / "tokenizer.json").read_text())["added_tokens"]
    ids = [token["id"] for token in added if token["special"]]
    found = exact_rows("special", dense, encoder_folder / "tokenizer.json")
    assert set(found.ids) <= set(ids)
    assert len(found.ids)
    assert read_manifest(tmp_path / "out").footprint.by_part["exact.ids"]
    np.testing.assert_array_equal(found.rows, dense[found.ids])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("", "is no list of ids"),
        ("a", "'a' is no list of ids; give ids and ranges such as"),
        ("-3", "is no list of ids"),
        ("3,,4", "is no list of ids"),
        ("5-3", "'5-3' is no range"),
        ("1-", "is no list of ids"),
        ("0-99999999999", "is no range of ids"),
        ("399,400", "400 is outside the table's 400 rows"),
        ("0-300", f"names 301 rows; give {MOST} at most"),
        ("special", "names no special token"),
    ],
)
def test_what_names_no_rows_is_refused(tmp_path, asked, told):
    with pytest.raises(InputError, match=told) as error:
        exact_rows(asked, VALUES, tmp_path / "tokenizer.json")
    assert "\n" not in str(error.value)


def test_ids_in_any_order_and_twice():
    found = exact_rows("9,2-4,3", VALUES, None)
    assert found.ids.tolist() == [2, 3, 4, 9]
    decoded = np.zeros((5, 16), np.float32)
    found.put_into(np.array([9, 0, 4, 399, 2]), decoded)
    np.testing.assert_array_equal(decoded[[0, 2, 4]], VALUES[[9, 4, 2]])
    assert not decoded[[1, 3]].any()


def test_rows_that_take_the_whole_budget_are_refused():
    exact = ExactRows(np.arange(10), VALUES[:10])
    assert without(Budget(min_cosine=0.9), 400, 16, exact) == Budget(min_cosine=0.9)
    assert without(Budget(ratio=5), 400, 16, None) == Budget(ratio=5)
    assert without(Budget(ratio=5), 400, 16, exact).max_bytes == 5120 - exact.nbytes
    with pytest.raises(BudgetError, match="name fewer"):
        without(Budget(max_bytes=1000), 400, 16, exact)


def test_a_packed_head_has_no_exact_rows(tiny_folder, quick, tmp_path):
    folder = tiny_folder("BertForMaskedLM")
    with pytest.raises(InputError, match="--head nbits or dense, or leave --exact-rows out"):
        export(str(folder), tmp_path / "out", Budget(ratio=6), options=quick(exact_rows="1"))
    options = quick(exact_rows="1", head="dense")
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=6), options=options)
    assert manifest.footprint.by_part["exact.ids"] == 8
