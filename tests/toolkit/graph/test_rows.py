"""Rows read back from a packed table's own graph."""

import numpy as np
import onnx_ir as ir
import pytest

from exporters.ops.lookup import decode_model
from exporters.passes.inline_functions import InlineFunctions
from toolkit.errors import InputError
from toolkit.graph.rows import packed_rows


def test_the_rows_are_those_of_lookup(small_embedding, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(decode_model(small_embedding).SerializeToString())
    rows = packed_rows(path, small_embedding.rows)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, small_embedding.dense())


def test_more_rows_than_are_looked_up_at_once(pack_table, tmp_path):
    table = pack_table(9000, 8, columns=[(9000, 4)])
    path = tmp_path / "model.onnx"
    path.write_bytes(decode_model(table).SerializeToString())
    np.testing.assert_allclose(packed_rows(path, 9000), table.dense(), atol=1e-6)


def test_a_bundle(exported):
    rows = packed_rows(exported.bundle / "model.onnx", exported.manifest.rows)
    assert rows.shape == (exported.manifest.rows, exported.manifest.width)


def test_no_such_table(small_embedding, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(decode_model(small_embedding).SerializeToString())
    with pytest.raises(InputError, match="no CompressedEmbedding node of 9 rows"):
        packed_rows(path, 9)


def test_a_dissolved_function(small_embedding, tmp_path):
    model = ir.from_proto(decode_model(small_embedding))
    InlineFunctions()(model)
    ir.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="--decode function"):
        packed_rows(tmp_path / "model.onnx", small_embedding.rows)
