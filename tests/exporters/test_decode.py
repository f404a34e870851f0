"""The decode graph gives what ``lookup`` gives, on every id, and stays small when loaded."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.decode import DOMAIN, build_decode_graph, graph_tensors
from toolkit import CompressedEmbedding

OPSETS = [13, 14, 17, 18, 20, 21, 22, 23]


@pytest.fixture(scope="module")
def everything(pack_table):
    """All kinds of parts at once; bits that fill no whole byte."""
    return pack_table(37, 11, dense=[(37, 13), (9, 8)], tiers=[20, 37], rank=2, block=4)


def model_of(embedding, opset=18, ids="INT64", shape=("b", "s"), dtype=ir.DataType.FLOAT):
    """A model of one CompressedEmbedding node."""
    decoder = build_decode_graph(embedding, opset=opset, dtype=dtype)
    stored = [
        ir.val(name, const_value=ir.tensor(array, name=name))
        for name, array in decoder.tensors.items()
    ]
    wanted = ir.val("ids", dtype=ir.DataType[ids], shape=shape)
    node = ir.node(decoder.function.name, [wanted, *stored], domain=DOMAIN)
    rows = node.outputs[0]
    rows.name, rows.dtype, rows.shape = "rows", dtype, ir.Shape([*shape, embedding.width])
    graph = ir.Graph(
        [wanted],
        [rows],
        nodes=[node],
        initializers=stored,
        opset_imports={"": opset, DOMAIN: 1},
        name="main",
    )
    return ir.Model(graph, ir_version=10, functions=[decoder.function])


@settings(max_examples=40)
@given(embedding=st.from_type(CompressedEmbedding), data=st.data())
def test_every_row_is_as_lookup_decodes_it(run_model, embedding, data):
    (rows,) = run_model(model_of(embedding), ids=np.arange(embedding.rows)[None])
    if embedding.lowrank is None:  # every step is exact, and sums are made in the same order
        np.testing.assert_array_equal(rows[0], embedding.dense())
    else:
        np.testing.assert_allclose(rows[0], embedding.dense(), rtol=1e-5, atol=1e-4)


def test_a_wide_code_stays_exact(run_model, pack_table):
    """Sums of 4000 int8 weights leave float16 and int16 far behind."""
    embedding = pack_table(70, 9, dense=[(70, 4001)])
    (rows,) = run_model(model_of(embedding), ids=np.arange(70)[None])
    np.testing.assert_array_equal(rows[0], embedding.dense())


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_decodes_alike(run_model, everything, opset):
    ids = np.arange(37)[None]
    (rows,) = run_model(model_of(everything, opset), ids=ids)
    np.testing.assert_allclose(rows, everything.lookup(ids), atol=1e-5)


@pytest.mark.parametrize("kind", ["INT32", "INT64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 4)])
def test_ids_may_have_any_rank_and_either_type(run_model, everything, kind, shape):
    ids = np.random.default_rng(0).integers(0, 37, shape).astype(kind.lower())
    (rows,) = run_model(model_of(everything, ids=kind, shape=shape), ids=ids)
    assert rows.shape == (*shape, 11)
    np.testing.assert_allclose(rows, everything.lookup(ids), atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("parts", [{}, {"dense": [(6, 9)]}, {"tiers": [3], "rank": 2}])
def test_no_ids_give_no_rows(run_model, pack_table, parts, shape):
    model = model_of(pack_table(6, 5, **parts))
    (rows,) = run_model(model, ids=np.zeros(shape, np.int64))
    assert rows.shape == (*shape, 5)


def test_half_precision_rows_are_the_float_rows_rounded(run_model, everything):
    ids = np.arange(37)[None]
    (rows,) = run_model(model_of(everything, dtype=ir.DataType.FLOAT16), ids=ids)
    (floats,) = run_model(model_of(everything), ids=ids)
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, floats.astype(np.float16))


def test_the_body_holds_standard_operators_only(everything):
    function = build_decode_graph(everything, opset=18).function
    assert {node.domain for node in function} == {""}
    assert dict(function.opset_imports) == {"": 18}
    assert not any(node.metadata_props for node in function)


def test_the_graph_reads_the_stored_tensors_and_the_table_of_signs(everything):
    tensors = graph_tensors(everything)
    stored = dict(everything.tensors())
    assert set(tensors) - set(stored) == {"signs", "order.shifts"}
    assert sum(array.nbytes for array in tensors.values()) == 2048 + sum(
        array.nbytes for array in stored.values()
    )


def test_nothing_unpacks_when_onnxruntime_folds_constants(pack_table, tmp_path):
    """Codes that were unpacked before they are gathered would be folded into a dense table."""
    embedding = pack_table(5000, 40, dense=[(5000, 100)], tiers=[3000], rank=2, block=64)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    proto = ir.to_proto(model_of(embedding))
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    after = ir.load(tmp_path / "optimized.onnx").graph.initializers.values()
    largest_stored = max(array.nbytes for array in graph_tensors(embedding).values())
    assert max(value.const_value.nbytes for value in after) == largest_stored
