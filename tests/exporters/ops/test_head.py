"""The head graph gives what ``CompressedEmbedding.logits`` gives, and stays packed when loaded."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.ops.head import build_head_graph, head_model
from exporters.ops.layer import COLUMN_STEP, graph_tensors
from exporters.ops.lookup import decode_model
from toolkit import CompressedEmbedding
from toolkit.table.components import DenseDecoder, Stage

OPSETS = [13, 14, 17, 18, 21, 23]


@pytest.fixture(scope="module")
def everything(pack_table):
    """All kinds of parts at once; codes and latents that fill no whole plane and no whole byte."""
    return pack_table(
        137,
        11,
        dense=[(137, 13, 5), (90, 9, None)],
        columns=[(70, 8), (137, None)],
        rank=2,
        block=4,
        gained=137,
    )


def logits_of(run_model, model, hidden):
    return run_model(model.SerializeToString(), hidden=hidden)[0]


def states(embedding, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, embedding.width)).astype(np.float32)


def assert_near(logits, embedding, hidden):
    """To float32's rounding of the terms that a logit sums."""
    expected = embedding.logits(hidden)
    assert logits.shape == expected.shape
    terms = np.abs(embedding.dense()).max() * np.abs(hidden).sum(axis=-1).max(initial=0)
    parts = 1 + len(embedding.stages) + (embedding.lowrank is not None)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * parts * (1 + terms))


def test_logits_are_products_with_every_row(everything):
    hidden = states(everything, 2, 3)
    np.testing.assert_allclose(
        everything.logits(hidden), hidden @ everything.dense().T, rtol=1e-5, atol=1e-4
    )


@settings(max_examples=40)
@given(embedding=st.from_type(CompressedEmbedding), opset=st.sampled_from(OPSETS))
def test_every_logit_is_the_product_with_its_row(run_model, embedding, opset):
    hidden = states(embedding, 2, 2)
    assert_near(logits_of(run_model, head_model(embedding, opset=opset), hidden), embedding, hidden)


@settings(max_examples=40)
@given(embedding=st.from_type(CompressedEmbedding))
def test_rows_are_decoded_from_planes_too(run_model, embedding):
    """A tied table is stored once, as the head reads it."""
    ids = np.arange(embedding.rows)[None]
    (by_rows,) = run_model(decode_model(embedding).SerializeToString(), ids=ids)
    by_planes = run_model(decode_model(embedding, column_major=True).SerializeToString(), ids=ids)[
        0
    ]
    np.testing.assert_array_equal(by_planes, by_rows)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 511, 512, 513, 1024, 1200])
@pytest.mark.parametrize("covered", [1.0, 0.4])
def test_rows_of_any_number_of_turns(run_model, pack_table, rows, covered):
    some = max(1, int(rows * covered))
    embedding = pack_table(rows, 6, dense=[(rows, 9, 5)], columns=[(some, 8)])
    hidden = states(embedding, 1, 2)
    assert_near(logits_of(run_model, head_model(embedding), hidden), embedding, hidden)


@pytest.mark.parametrize("block", [None, 4])
def test_marked_rows_have_logits_of_zero(run_model, pack_table, block):
    embedding = pack_table(37, 6, dense=[(30, 13, 5)], tail=True, block=block, zeros=[0, 9, 36])
    hidden = states(embedding, 2, 3)
    logits = logits_of(run_model, head_model(embedding), hidden)
    assert not logits[..., [0, 9, 36]].any()
    assert_near(logits, embedding, hidden)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_gives_the_same(run_model, everything, opset):
    hidden = states(everything, 2, 3)
    assert_near(
        logits_of(run_model, head_model(everything, opset=opset), hidden), everything, hidden
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize(
    "parts",
    [{}, {"tail": True}, {"dense": [(6, 9, 5)], "gained": 6}, {"columns": [(3, None)], "rank": 2}],
)
def test_no_states_give_no_logits(run_model, pack_table, parts, shape):
    embedding = pack_table(6, 5, **parts)
    hidden = np.zeros((*shape, 5), np.float32)
    assert logits_of(run_model, head_model(embedding), hidden).shape == (*shape, 6)


def test_half_precision_logits_are_the_float_logits_rounded(run_model, everything):
    hidden = states(everything, 2, 3).astype(np.float16)
    half = logits_of(run_model, head_model(everything, dtype=ir.DataType.FLOAT16), hidden)
    whole = logits_of(run_model, head_model(everything), hidden.astype(np.float32))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, whole, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("values", [None, 5])
def test_a_float_decoder_is_right_to_rounding(run_model, values):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (37, 3)).astype(np.uint8)
    codebook = rng.integers(-63, 64, (256, 5)).astype(np.int8) if values else None
    weight = rng.normal(size=(3 * (values or 8) - 2, 6)).astype(np.float32)
    stage = Stage(codes, DenseDecoder(weight), codebook)
    embedding = CompressedEmbedding(37, 6, weight[0], (stage,))
    hidden = states(embedding, 1, 4)
    assert_near(logits_of(run_model, head_model(embedding), hidden), embedding, hidden)


def test_planes_hold_the_same_bytes_but_for_what_fills_them_up(everything):
    rows, planes = graph_tensors(everything), graph_tensors(everything, column_major=True)
    assert list(rows) == list(planes)
    for index, stage in enumerate(everything.stages):
        plane = planes[f"stages.{index}.codes"]
        assert plane.shape[1] % COLUMN_STEP == 0
        np.testing.assert_array_equal(plane[:, : stage.rows].T, stage.codes)
        assert not plane[:, stage.rows :].any()
    np.testing.assert_array_equal(planes["lowrank.left"].T, rows["lowrank.left"])


def test_the_body_holds_standard_operators_only(everything):
    function = build_head_graph(everything, opset=18).function
    assert {node.domain for node in function.all_nodes()} == {""}
    assert not any(node.metadata_props for node in function.all_nodes())


def test_names_in_loops_are_their_own(everything):
    """onnxruntime takes a name of the graph around for that value, whatever it is inside."""
    function = build_head_graph(everything, opset=18).function
    names = [v.name for node in function.all_nodes() for v in node.outputs]
    assert len(names) == len(set(names))


FOLDABLE = {
    "codebooks": {"dense": [(5000, 100, 3), (5000, 60, 12)], "columns": [(3000, 8), (900, 5)]},
    "signs": {"dense": [(5000, 100, None)], "columns": [(3000, None)]},
    "low rank": {"columns": [(5000, 8)], "rank": 2},
    "lengths": {"dense": [(4000, 100, 3)], "columns": [(900, 8)], "gained": 4000, "tail": True},
}


@pytest.mark.parametrize("block", [None, 64])
@pytest.mark.parametrize("parts", FOLDABLE)
def test_nothing_unpacks_when_onnxruntime_folds_constants(pack_table, tmp_path, parts, block):
    """Neither a row's values nor its latents are ever a constant: a few numbers a row at most."""
    embedding = pack_table(5000, 40, **FOLDABLE[parts], block=block)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    content = head_model(embedding).SerializeToString()
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    graph = ir.load(tmp_path / "optimized.onnx").graph
    stored = graph_tensors(embedding, column_major=True)
    largest = max(array.size for array in stored.values())
    after = [value.const_value for value in graph.initializers.values()]
    assert max(tensor.size for tensor in after) == largest
    grown = sum(tensor.size for tensor in after) - sum(array.size for array in stored.values())
    assert grown <= 4 * embedding.rows
