"""The decode graph gives what ``lookup`` gives, on every id, and stays small when loaded."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.ops.layer import graph_tensors
from exporters.ops.lookup import build_decode_graph
from toolkit import CompressedEmbedding
from toolkit.graph.contract import DOMAIN
from toolkit.table.components import CODEBOOK_PEAK, DenseDecoder, LowRank, Stage

OPSETS = [13, 14, 17, 18, 20, 21, 22, 23]


@pytest.fixture(scope="module")
def everything(pack_table):
    """All kinds of parts at once; latent values that fill no whole byte."""
    return pack_table(
        37,
        11,
        dense=[(37, 13, 5), (9, 9, None)],
        columns=[(20, 8), (37, None)],
        rank=2,
        block=4,
        gained=37,
    )


def model_of(
    embedding, opset=18, ids="INT64", shape=("b", "s"), dtype=ir.DataType.FLOAT, floats=False
):
    """A model of one CompressedEmbedding node."""
    decoder = build_decode_graph(embedding, opset=opset, dtype=dtype, floats=floats)
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


def decoded(run_model, embedding, **settings):
    """Every row of the graph's, in order of the ids."""
    (rows,) = run_model(model_of(embedding, **settings), ids=np.arange(embedding.rows)[None])
    return rows[0]


def largest_term(embedding):
    """What terms of a row's sum may come to before they cancel out; float32 rounds beside it."""
    low = embedding.lowrank
    low = LowRank(np.abs(low.left), np.abs(low.right), np.abs(low.scale))
    ids = np.arange(embedding.rows)
    parts = [low.decode(ids)]
    parts += [stage.decoder.decode(stage.latents(ids)) for stage in embedding.stages]
    factor = 1 if embedding.gain is None else max(1, embedding.gain.levels.max())
    return factor * sum(np.abs(part).max() for part in parts) + np.abs(embedding.mean).max()


@settings(max_examples=60)
@given(embedding=st.from_type(CompressedEmbedding), opset=st.sampled_from(OPSETS))
def test_every_row_is_as_lookup_decodes_it(run_model, embedding, opset):
    rows = decoded(run_model, embedding, opset=opset)
    # Without factors every step is exact, and sums are made in the same order.
    lost = 0.0 if embedding.lowrank is None else 1e-6 * largest_term(embedding)
    np.testing.assert_allclose(rows, embedding.dense(), rtol=0, atol=lost)


@pytest.mark.parametrize("rows", [20, 37])
@pytest.mark.parametrize("values", [None, 1, 3, 5, 8, 16])
@pytest.mark.parametrize("latents", [1, 16, 23])
def test_a_learned_decoder_is_exact(run_model, pack_table, rows, values, latents):
    """23 latent values leave part of the last byte unread, whatever a byte stands for."""
    embedding = pack_table(37, 6, dense=[(rows, latents, values)])
    np.testing.assert_array_equal(decoded(run_model, embedding), embedding.dense())


@pytest.mark.parametrize("rows", [20, 37])
@pytest.mark.parametrize("values", [None, 1, 3, 5, 8, 16])
@pytest.mark.parametrize("width", [5, 16, 23])
def test_codes_of_the_columns_are_exact(run_model, pack_table, rows, values, width):
    embedding = pack_table(37, width, columns=[(rows, values)])
    np.testing.assert_array_equal(decoded(run_model, embedding), embedding.dense())


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("block", [None, 4])
def test_rows_that_no_stage_covers_are_one_vector(run_model, pack_table, tail, block):
    embedding = pack_table(
        37, 6, dense=[(20, 13, 3)], columns=[(24, 8), (5, 8)], block=block, tail=tail
    )
    rows = decoded(run_model, embedding)
    np.testing.assert_array_equal(rows, embedding.dense())
    shared = embedding.tail if tail else embedding.mean
    assert (rows == shared).all(axis=1).sum() == 37 - 24


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("covered", [20, 37])
def test_every_covered_row_has_its_own_length(run_model, pack_table, covered, tail):
    stages = {"dense": [(covered, 13, 5)], "columns": [(9, 8)]}
    embedding = pack_table(37, 6, **stages, block=4, gained=covered, tail=tail)
    rows = decoded(run_model, embedding)
    np.testing.assert_array_equal(rows, embedding.dense())
    assert not np.array_equal(rows, replace(embedding, gain=None).dense())


def test_lengths_beyond_the_codes_are_one(run_model, pack_table):
    """A gain may cover fewer rows than the stages do."""
    embedding = pack_table(37, 6, dense=[(37, 13, 5)], gained=20)
    np.testing.assert_array_equal(decoded(run_model, embedding), embedding.dense())


def test_a_table_of_one_vector_is_that_vector(run_model, pack_table):
    embedding = pack_table(37, 6)
    np.testing.assert_array_equal(decoded(run_model, embedding), np.tile(embedding.mean, (37, 1)))
    embedding = pack_table(37, 6, tail=True)
    np.testing.assert_array_equal(decoded(run_model, embedding), np.tile(embedding.tail, (37, 1)))


@pytest.mark.parametrize("values", [None, 5])
def test_a_float_decoder_is_right_to_rounding(run_model, values):
    """The papers' own methods store their decoders in float32."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (37, 3)).astype(np.uint8)
    codebook = rng.integers(-63, 64, (256, 5)).astype(np.int8) if values else None
    weight = rng.normal(size=(3 * (values or 8) - 2, 6)).astype(np.float32)
    stage = Stage(codes, DenseDecoder(weight), codebook)
    embedding = CompressedEmbedding(37, 6, weight[0], (stage,))
    np.testing.assert_allclose(
        decoded(run_model, embedding), embedding.dense(), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("values", [None, 5])
def test_a_wide_code_stays_exact(run_model, pack_table, values):
    """Sums of 4000 products of int8 leave float16, int16 and at last float32 far behind."""
    embedding = pack_table(70, 9, dense=[(70, 4001, values)])
    np.testing.assert_array_equal(decoded(run_model, embedding), embedding.dense())


def test_the_largest_values_stay_exact(run_model):
    """Pairs of products saturate on some processors; sums beyond 2**24 round in float32."""
    latents, peak = 2399, CODEBOOK_PEAK
    codes = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 300, axis=1)
    codebook = np.where(np.arange(256)[:, None] < 128, peak, -peak).repeat(8, axis=1)
    weight = np.tile(np.array([127, -127], np.int8), (latents, 2))
    decoder = DenseDecoder(weight, np.ones(4, np.float32))
    stage = Stage(codes, decoder, codebook.astype(np.int8))
    embedding = CompressedEmbedding(256, 4, np.zeros(4, np.float32), (stage,))
    rows = decoded(run_model, embedding)
    np.testing.assert_array_equal(rows, embedding.dense())
    assert rows.max() == np.float32(latents * 127 * peak)


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


ORDERS = {
    "plain": {"dense": [(37, 13, 5)]},
    "low rank": {"rank": 3},
    "reserved rows last": {"dense": [(20, 13, 5)], "columns": [(9, 8)], "tail": True},
    "lengths": {"dense": [(20, 13, 5)], "gained": 20, "tail": True},
    "one vector": {},
}


@pytest.fixture(scope="module")
def ordered(pack_table):
    """``ordered(name, block)``: a table of 37 rows, the last block of which is short."""
    return lambda name, block: pack_table(37, 6, **ORDERS[name], block=block)


def open_form(embedding, floats, *, ids="INT64", change=None, **settings):
    """The look-up in integers or in floats, as a function gathered by any ids [n]."""
    model = model_of(embedding, ids=ids, shape=("n",), floats=floats, **settings)
    if change is not None:
        change(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda *given: session.run(None, {"ids": np.array(given, ids.lower())})[0]


@pytest.mark.parametrize("kind", ["INT32", "INT64"])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_negative_ids_count_from_the_tables_end(ordered, order, block, floats, kind):
    embedding = ordered(order, block)
    rows = open_form(embedding, floats, ids=kind)(*range(-37, 37))
    lost = 1e-6 * largest_term(embedding) if embedding.lowrank else 0
    np.testing.assert_allclose(rows, np.tile(embedding.dense(), (2, 1)), rtol=0, atol=lost)


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16"])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_marked_rows_are_zero(pack_table, order, block, floats, dtype):
    zeros = [0, 1, 7, 8, 30, 36]
    embedding = pack_table(37, 6, **ORDERS[order], block=block, zeros=zeros)
    change = None if floats else without_refusal
    read = open_form(embedding, floats, change=change, dtype=ir.DataType[dtype])
    rows = read(*range(37), *range(-37, 0), 37)
    np.testing.assert_array_equal(rows[:37], rows[37:74])
    assert not rows[zeros].any()
    wanted = embedding.dense()
    exact = dtype == "FLOAT" and not embedding.lowrank
    lost = 0 if exact else 1e-3 * np.abs(wanted).max()
    np.testing.assert_allclose(rows[:37], wanted, rtol=0, atol=lost)
    assert rows[2:7].any(axis=1).all()
    assert np.isnan(rows[74]).all()


@settings(max_examples=30)
@given(embedding=st.from_type(CompressedEmbedding))
def test_every_row_is_as_lookup_decodes_it_in_floats_too(run_model, embedding):
    rows = decoded(run_model, embedding, floats=True)
    lost = 0.0 if embedding.lowrank is None else 1e-6 * largest_term(embedding)
    np.testing.assert_allclose(rows, embedding.dense(), rtol=0, atol=lost)


OUTSIDE = [37, 38, 40, 44, -38, -45, 2**31 - 1, -(2**31)]
BEYOND = [2**31, 2**32 + 5, 2**32 - 1, -(2**32), -(2**32) + 5, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_other_ids_are_refused_as_by_a_gather(ordered, order, block):
    read = open_form(ordered(order, block), floats=False)
    for id in (*OUTSIDE, *BEYOND):
        wanted = rf"indices element out of data bounds, idx={id} .* \[-37,36\]"
        with pytest.raises(Exception, match=wanted):
            read(3, id)
    read = open_form(ordered(order, block), floats=False, ids="INT32")
    for id in OUTSIDE:
        with pytest.raises(Exception, match=f"out of data bounds, idx={id} "):
            read(3, id)


def without_refusal(model):
    """As on devices whose Gather takes any index: what refuses ids is taken out."""
    function = next(iter(model.functions.values()))
    (refusal,) = (
        node
        for node in function
        if node.op_type == "Concat" and node.inputs[1].producer().op_type == "Gather"
    )
    refusal.outputs[0].replace_all_uses_with(refusal.inputs[0])
    function.remove([refusal, refusal.inputs[1].producer()], safe=True)


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16"])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_other_ids_are_nan_where_no_gather_refuses_them(ordered, order, block, floats, dtype):
    embedding, change = ordered(order, block), None if floats else without_refusal
    settings = {"change": change, "dtype": ir.DataType[dtype]}
    rows = open_form(embedding, floats, **settings)(3, *OUTSIDE, *BEYOND)
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1:]).all()
    rows = open_form(embedding, floats, ids="INT32", **settings)(*OUTSIDE, -34)
    assert np.isnan(rows[:-1]).all()
    assert np.isfinite(rows[-1]).all()


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("rows", [2**23, 2**23 + 1, 2**24 + 3])
def test_ends_of_very_tall_tables_are_exact(rows, floats):
    """From 2**23 on float32 holds no halves, from 2**24 on not every number."""
    embedding = CompressedEmbedding(rows, 2, np.ones(2, np.float32), ())
    read = open_form(embedding, floats, change=None if floats else without_refusal)
    found = np.isfinite(read(rows - 1, -rows, rows, -rows - 1)).all(axis=1)
    assert found.tolist() == [True, True, False, False]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"tail": True},
        {"dense": [(6, 9, 5)], "gained": 6},
        {"columns": [(3, 8)], "tail": True, "gained": 3},
        {"columns": [(3, None)], "rank": 2},
    ],
)
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


def test_without_signs_the_graph_reads_as_many_bytes_as_are_stored(pack_table):
    embedding = pack_table(37, 11, dense=[(37, 13, 5)], columns=[(20, 8)], gained=37, tail=True)
    assert {name: array.nbytes for name, array in graph_tensors(embedding).items()} == (
        embedding.bytes_by_part()
    )


FOLDABLE = {
    "codebooks": {"dense": [(5000, 100, 3), (5000, 60, 12)], "columns": [(3000, 8), (900, 5)]},
    "signs": {"dense": [(5000, 100, None)], "columns": [(3000, None)]},
    "low rank": {"columns": [(5000, 8)], "rank": 2},
    "lengths": {"dense": [(4000, 100, 3)], "columns": [(900, 8)], "gained": 4000, "tail": True},
    "columns for all": {"columns": [(5000, 5), (300, 8)], "gained": 5000},
}


@pytest.mark.parametrize("block", [None, 64])
@pytest.mark.parametrize("parts", FOLDABLE)
def test_nothing_unpacks_when_onnxruntime_folds_constants(pack_table, tmp_path, parts, block):
    """Codes that were unpacked before they are gathered would be folded into a dense table."""
    embedding = pack_table(5000, 40, **FOLDABLE[parts], block=block)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    proto = ir.to_proto(model_of(embedding))
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    after = [
        value.const_value.nbytes
        for value in ir.load(tmp_path / "optimized.onnx").graph.initializers.values()
    ]
    stored = [array.nbytes for array in graph_tensors(embedding).values()]
    assert max(after) == max(stored)
    assert sum(after) <= sum(stored) + 1000  # scalars and shapes
