"""The native kernel: every variant gives what ``lookup`` and the standard graph give."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from exporters.passes.compress_head import CompressHead
from exporters.passes.compress_table import CompressTable
from runtime import native, open_session
from runtime.custom_op.build import TARGETS, BuildError, _put, build, cmake_call, find_headers
from toolkit import Budget, CompressedEmbedding, compress
from toolkit.cli.app import run
from toolkit.cli.op import command
from toolkit.table import bitpack
from toolkit.table.components import ColumnDecoder, DenseDecoder, Stage

KERNELS = ("scalar", "avx2", "avx512", "neon", "dotprod")


@pytest.fixture(scope="session")
def open_kernel(library):
    """A session of a one-node model, decoded by the named kernel; None where it cannot run."""

    def open_one(embedding, kernel, make=decode_model, **options):
        session_options = ort.SessionOptions()
        session_options.log_severity_level = 4
        session_options.register_custom_ops_library(str(library))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LIGHTTOKEN_KERNEL", kernel)
            content = make(embedding, **options).SerializeToString()
            return ort.InferenceSession(content, session_options)

    return open_one


@pytest.fixture(scope="session")
def kernels(open_kernel, small_embedding):
    """Those that this machine can run."""
    with pytest.raises(Exception, match="no kernel 'none' runs here; there is") as refusal:
        open_kernel(small_embedding, "none")
    named = str(refusal.value).split("there is ")[1].split(", ")
    assert set(named) <= set(KERNELS)
    assert named[-1] == "scalar"
    return named


@pytest.fixture(scope="module")
def pack_layouts(small_table):
    """Two tables of layouts that differ."""
    wide = np.concatenate([small_table, small_table[:, ::-1]], axis=1)
    return compress(small_table, Budget(ratio=10)), compress(wide, Budget(ratio=5))


def rows_of(session, ids, dtype=np.int64):
    return session.run(None, {"ids": np.asarray(ids, dtype)})[0]


def assert_same(decoded, embedding, ids):
    expected = embedding.lookup(ids)
    assert decoded.shape == expected.shape
    if embedding.lowrank is None:
        np.testing.assert_array_equal(decoded, expected)
    else:  # numpy adds a float product's terms in an order of its own
        np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-2)


@settings(max_examples=40)
@given(embedding=st.from_type(CompressedEmbedding), data=st.data())
def test_every_kernel_decodes_as_lookup_does(open_kernel, kernels, embedding, data):
    either_end = st.integers(-embedding.rows, embedding.rows - 1)
    ids = data.draw(st.lists(either_end, max_size=40))
    column_major = data.draw(st.booleans())  # as of a table that an output head reads too
    for kernel in kernels:
        session = open_kernel(embedding, kernel, column_major=column_major)
        assert_same(rows_of(session, [range(embedding.rows)]), embedding, [range(embedding.rows)])
        assert_same(rows_of(session, [ids]), embedding, np.array([ids], np.int64))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_trained_table_is_decoded_to_the_bit(open_kernel, kernels, small_embedding, kernel):
    if kernel not in kernels:
        pytest.skip(f"this processor has no {kernel}")
    ids = np.arange(small_embedding.rows).reshape(7, 101)
    native_rows = rows_of(open_kernel(small_embedding, kernel), ids)
    graph = ort.InferenceSession(decode_model(small_embedding).SerializeToString())
    np.testing.assert_array_equal(native_rows, small_embedding.lookup(ids))
    np.testing.assert_array_equal(native_rows, rows_of(graph, ids))


@pytest.mark.parametrize("width", [1, 15, 16, 17, 95, 96, 97, 200])
@pytest.mark.parametrize("latents", [1, 4, 7, 130])
def test_widths_and_latents_of_no_whole_tile(open_kernel, kernels, width, latents):
    rng = np.random.default_rng(width + latents)
    weight = rng.integers(-127, 128, (latents, width)).astype(np.int8)
    scale = rng.random(width).astype(np.float32)
    base = compress(rng.normal(size=(300, 48)).astype(np.float32), Budget(ratio=6))
    codebook = np.where(np.arange(256 * 3).reshape(256, 3) % 2, 63, -63).astype(np.int8)
    codes = rng.integers(0, 256, (300, -(-latents // 3))).astype(np.uint8)
    stage = replace(
        base.stages[0], codes=codes, decoder=DenseDecoder(weight, scale), codebook=codebook
    )
    embedding = CompressedEmbedding(300, width, scale, (stage,))
    for kernel in kernels:
        ids = np.arange(300)[None]
        assert_same(rows_of(open_kernel(embedding, kernel), ids), embedding, ids)


@pytest.mark.parametrize("method", ["lighttoken-paper", "svd", "svd-fp32"])
def test_the_baselines_decode_too(open_kernel, kernels, small_table, method):
    embedding = compress(small_table, Budget(ratio=6), method=method)
    ids = np.arange(embedding.rows)[None]
    for kernel in kernels:
        rows = rows_of(open_kernel(embedding, kernel), ids)
        np.testing.assert_allclose(rows, embedding.lookup(ids), rtol=0, atol=1e-5)


def test_ids_may_be_int32_and_of_any_rank(open_kernel, small_embedding):
    session = open_kernel(small_embedding, "", ids_dtype=ir.DataType.INT32)
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    np.testing.assert_array_equal(rows_of(session, ids, np.int32), small_embedding.lookup(ids))


def test_no_ids_give_no_rows(open_kernel, small_embedding):
    session = open_kernel(small_embedding, "")
    for shape in ((0, 5), (3, 0), (0, 0)):
        assert rows_of(session, np.zeros(shape)).shape == (*shape, small_embedding.width)


def test_half_precision_is_the_rounded_row(open_kernel, kernels, small_embedding):
    tiny = replace(small_embedding, mean=small_embedding.mean * np.float32(1e-5))
    for embedding in (small_embedding, tiny):
        ids = np.arange(embedding.rows)[None]
        expected = embedding.lookup(ids).astype(np.float16)
        for kernel in kernels:
            session = open_kernel(embedding, kernel, dtype=ir.DataType.FLOAT16)
            decoded = rows_of(session, ids)
            assert decoded.dtype == np.float16
            np.testing.assert_array_equal(decoded, expected)


def half_of_every_kind():
    """Finite float32 numbers around every kind of half: normal, subnormal, tied, overflowing."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[:-1] + halves[1:]) / 2
    near = np.concatenate([np.nextafter(between, np.float32(0)), np.nextafter(between, np.inf)])
    return np.concatenate([halves, between, near, [65504.0, 65519.99, 65520.0, 1e30, 3e38, 0.0]])


def test_half_precision_rounds_every_number_as_numpy_does(open_kernel, kernels):
    values = half_of_every_kind().astype(np.float32)
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    embedding = CompressedEmbedding(1, len(values), values, ())
    for kernel in kernels:
        session = open_kernel(embedding, kernel, dtype=ir.DataType.FLOAT16)
        np.testing.assert_array_equal(rows_of(session, [[0]])[0, 0], expected)


def test_rows_beyond_float32_are_infinite_in_half_precision_too(open_kernel, kernels):
    """A table stores finite numbers; what they add up to need not be."""
    scale = np.full(5, 3e38, np.float32)
    for sign in (1, -1):
        book = np.full((256, 5), sign * 63, np.int8)
        stage = Stage(np.zeros((1, 1), np.uint8), ColumnDecoder(scale), book)
        embedding = CompressedEmbedding(1, 5, np.zeros(5, np.float32), (stage,))
        for kernel in kernels:
            session = open_kernel(embedding, kernel, dtype=ir.DataType.FLOAT16)
            assert rows_of(session, [[0]]).ravel().tolist() == [sign * np.inf] * 5


@pytest.mark.parametrize("column_major", [False, True])
def test_negative_ids_count_from_the_tables_end(
    open_kernel, kernels, small_embedding, column_major
):
    ids = np.random.default_rng(0).integers(-707, 707, (5, 300))
    for kernel in kernels:
        session = open_kernel(small_embedding, kernel, column_major=column_major)
        np.testing.assert_array_equal(rows_of(session, ids), small_embedding.dense()[ids])


@pytest.mark.parametrize("bad", [-708, 707, 2**32 + 5, -(2**32), 2**40, -(2**40)])
def test_an_id_outside_the_table_is_named(open_kernel, small_embedding, bad):
    with pytest.raises(Exception, match=rf"id {bad} is outside -707 .. 706; check the tokenizer"):
        rows_of(open_kernel(small_embedding, ""), [[3, bad]])


def test_many_ids_on_many_threads(library, small_embedding):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 3
    options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(decode_model(small_embedding).SerializeToString(), options)
    ids = np.random.default_rng(0).integers(0, 707, (40, 100))
    np.testing.assert_array_equal(rows_of(session, ids), small_embedding.lookup(ids))


def test_a_position_without_stages_is_the_tail_or_the_mean(open_kernel, kernels):
    scale = np.ones(5, np.float32)
    codes = np.zeros((2, 1), np.uint8)
    stage = compress(np.random.default_rng(0).normal(size=(300, 48)), Budget(ratio=6)).stages[0]
    book = np.full((256, 5), 3, np.int8)
    stage = replace(stage, codes=codes, decoder=ColumnDecoder(scale), codebook=book)
    for tail in (None, 7 * scale):
        embedding = CompressedEmbedding(4, 5, 2 * scale, (stage,), tail=tail)
        for kernel in kernels:
            rows = rows_of(open_kernel(embedding, kernel), [[0, 3]])
            assert rows[0, 0].tolist() == [5.0] * 5
            assert rows[0, 1].tolist() == [2.0 if tail is None else 7.0] * 5


def test_marked_rows_and_their_logits_are_zero(open_kernel, kernels, pack_table):
    """Logits too, where one of them would have been the largest."""
    parts = {"dense": [(90, 30, 5)], "gained": 50, "block": 8}
    unmarked = pack_table(100, 24, **parts)
    hidden = unmarked.lookup([3])[None]
    zeros = [0, 8, 99, int(unmarked.logits(hidden).argmax())]
    embedding = pack_table(100, 24, **parts, zeros=zeros)
    for kernel in kernels:
        (rows,) = rows_of(open_kernel(embedding, kernel), [np.arange(-100, 100)])
        np.testing.assert_array_equal(rows, np.tile(embedding.dense(), (2, 1)))
        assert not rows[zeros].any()
        logits = open_kernel(embedding, kernel, head_model).run(None, {"hidden": hidden})[0]
        assert not logits[..., zeros].any()
        assert_logits(logits, embedding, hidden)


def test_a_damaged_row_order_is_refused(open_kernel, small_embedding):
    model = decode_model(small_embedding)
    (shifts,) = (t for t in model.graph.initializer if t.name == "order.shifts")
    damaged = np.frombuffer(shifts.raw_data, np.int32).copy()
    damaged[3] += 10_000
    shifts.raw_data = damaged.tobytes()
    options = ort.SessionOptions()
    options.register_custom_ops_library(os.environ[native.VARIABLE])
    with pytest.raises(Exception, match="row order leaves the table at block 3"):
        ort.InferenceSession(model.SerializeToString(), options)


# --- output heads


def states_of(embedding, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, embedding.width)).astype(np.float32)


def allowed(embedding, hidden):
    """What a logit may be off by, float64 [.., 1]: half a step of every table that is looked up.

    As runtime/custom_op/head.h has it: the step is the widest table's range over 255 for all bytes
    of a stage; codebooks of sums have two tables a byte, which share 254 steps.
    """
    total = np.zeros(hidden.shape[:-1])
    for stage in embedding.stages:
        latents = hidden.astype(np.float64)
        if stage.decoder.scale is not None:
            latents = latents * stage.decoder.scale
        if isinstance(stage.decoder, DenseDecoder):
            latents = latents @ stage.decoder.weight.T.astype(np.float64)
        book = bitpack.signs() if stage.codebook is None else stage.codebook
        bytes_, k = stage.codes.shape[1], stage.values_per_byte
        missing = [(0, 0)] * (hidden.ndim - 1) + [(0, bytes_ * k - latents.shape[-1])]
        by_byte = np.pad(latents, missing).reshape(*hidden.shape[:-1], bytes_, k)
        additive = np.array_equal(book, (book[::16, None] + (book[:16] - book[0])).reshape(256, k))
        tables = by_byte @ (book[::16] if additive else book).T.astype(np.float64)
        spread = np.ptp(tables, axis=-1)
        if additive:
            spread = spread + np.ptp(by_byte @ (book[:16] - book[0]).T, axis=-1)
        widest = spread.max(axis=-1)
        total += bytes_ * widest * (1 / 254 if additive else 0.5 / 255)
    most = 1 if embedding.gain is None else max(1, np.abs(embedding.gain.levels).max())
    return (1.01 * most * total)[..., None]


def assert_logits(logits, embedding, hidden):
    exact = embedding.logits(hidden).astype(np.float64)
    assert logits.shape == exact.shape
    largest = np.abs(embedding.dense()).max() * np.abs(hidden).sum(axis=-1, keepdims=True)
    rounding = 1e-5 * (1 + len(embedding.stages)) * (1 + largest)
    assert (np.abs(logits - exact) <= allowed(embedding, hidden) + rounding).all()
    # The largest is the exact logits' largest, and exact.
    np.testing.assert_allclose(
        logits.max(axis=-1), exact.max(axis=-1), rtol=0, atol=rounding.max(initial=0)
    )


@settings(max_examples=40)
@given(embedding=st.from_type(CompressedEmbedding), seed=st.integers(0, 1000))
def test_every_kernel_has_the_logits_of_the_table(open_kernel, kernels, embedding, seed):
    hidden = states_of(embedding, 2, 5, seed=seed)
    found = []
    for kernel in kernels:
        session = open_kernel(embedding, kernel, head_model)
        found.append(session.run(None, {"hidden": hidden})[0])
        assert_logits(found[-1], embedding, hidden)
        np.testing.assert_array_equal(found[-1], found[0])


@pytest.mark.parametrize("rows", [1, 31, 64, 100, 4095, 4096, 4161, 9000])
@pytest.mark.parametrize("additive", [False, True])
def test_heads_of_any_number_of_rows(open_kernel, kernels, rows, additive):
    rng = np.random.default_rng(rows)
    book = rng.integers(-31, 32, (256, 5)).astype(np.int8)
    if additive:
        book = (book[:16, None] + book[None, 16:32]).reshape(256, 5)
    weight = rng.integers(-127, 128, (33, 24)).astype(np.int8)
    scale = rng.random(24).astype(np.float32)
    dense = Stage(
        rng.integers(0, 256, (rows, 7)).astype(np.uint8), DenseDecoder(weight, scale), book
    )
    some = rng.integers(0, 256, (max(1, rows // 3), 5)).astype(np.uint8)
    embedding = CompressedEmbedding(
        rows, 24, scale, (dense, Stage(some, ColumnDecoder(scale), book))
    )
    hidden = states_of(embedding, 1, 3)
    found = [
        open_kernel(embedding, kernel, head_model).run(None, {"hidden": hidden})[0]
        for kernel in kernels
    ]
    for logits in found:
        assert_logits(logits, embedding, hidden)
        np.testing.assert_array_equal(logits, found[0])


@pytest.mark.parametrize("additive", [False, True])
def test_more_bytes_than_sixteen_bits_can_sum(open_kernel, kernels, additive):
    rng = np.random.default_rng(0)
    book = np.repeat(np.arange(256, dtype=np.int16)[:, None] // 5, 2, axis=1).astype(np.int8)
    if additive:
        book = (book[:16, None] + book[None, ::16]).reshape(256, 2)
    codes = np.concatenate([rng.integers(0, 256, (70, 600)), np.full((70, 600), 255)])
    scale = np.ones(1200, np.float32)
    stage = Stage(codes.astype(np.uint8), ColumnDecoder(scale), book)
    embedding = CompressedEmbedding(140, 1200, scale, (stage,))
    hidden = np.abs(states_of(embedding, 1, 2))
    for kernel in kernels:
        logits = open_kernel(embedding, kernel, head_model).run(None, {"hidden": hidden})[0]
        assert_logits(logits, embedding, hidden)


def test_the_largest_logit_is_right_where_many_are_near(open_kernel, kernels):
    """Rows that differ by less than a table's step are told apart."""
    rng = np.random.default_rng(3)
    book = rng.integers(-63, 64, (256, 4)).astype(np.int8)
    codes = np.repeat(rng.integers(0, 256, (1, 12)), 3000, axis=0)
    codes[:, 0] = np.arange(3000) % 256
    scale = np.concatenate([np.full(4, 1e-4), np.ones(44)]).astype(np.float32)
    stage = Stage(codes.astype(np.uint8), ColumnDecoder(scale), book)
    embedding = CompressedEmbedding(3000, 48, scale, (stage,))
    hidden = states_of(embedding, 1, 50)
    exact = hidden.astype(np.float64) @ embedding.dense().T.astype(np.float64)
    for kernel in kernels:
        logits = open_kernel(embedding, kernel, head_model).run(None, {"hidden": hidden})[0]
        chosen = logits.argmax(axis=-1)
        lost = exact.max(axis=-1) - np.take_along_axis(exact, chosen[..., None], -1)[..., 0]
        assert lost.max() <= 1e-4 * np.ptp(exact[..., :256], axis=-1).min()


def test_heads_on_many_threads_and_of_many_states(library, small_embedding):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 3
    options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(head_model(small_embedding).SerializeToString(), options)
    hidden = states_of(small_embedding, 3, 7)
    together = session.run(None, {"hidden": hidden})[0]
    assert_logits(together, small_embedding, hidden)
    alone = [session.run(None, {"hidden": h[None, None]})[0][0, 0] for h in hidden.reshape(21, -1)]
    np.testing.assert_array_equal(together.reshape(21, -1), alone)


def test_heads_of_half_precision(open_kernel, kernels, small_embedding):
    hidden = states_of(small_embedding, 2, 3).astype(np.float16)
    for kernel in kernels:
        whole = open_kernel(small_embedding, kernel, head_model)
        half = open_kernel(small_embedding, kernel, head_model, dtype=ir.DataType.FLOAT16)
        expected = whole.run(None, {"hidden": hidden.astype(np.float32)})[0].astype(np.float16)
        np.testing.assert_array_equal(half.run(None, {"hidden": hidden})[0], expected)


def test_half_precision_states_are_read_as_numpy_reads_them(open_kernel):
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    states = np.concatenate([every, -every])
    embedding = CompressedEmbedding(1, 1, np.ones(1, np.float32), ())
    session = open_kernel(embedding, "", head_model, dtype=ir.DataType.FLOAT16)
    logits = session.run(None, {"hidden": states[None, :, None]})[0]
    np.testing.assert_array_equal(logits[0, :, 0], states)


def test_no_states_give_no_logits_and_equal_ones_equal_logits(open_kernel, small_embedding):
    session = open_kernel(small_embedding, "", head_model)
    for shape in ((0, 5), (3, 0), (0, 0)):
        hidden = np.zeros((*shape, small_embedding.width), np.float32)
        assert session.run(None, {"hidden": hidden})[0].shape == (*shape, small_embedding.rows)
    zeros = np.zeros((1, 1, small_embedding.width), np.float32)
    assert (session.run(None, {"hidden": zeros})[0] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_no_numbers_give_no_numbers(open_kernel, kernels, small_embedding, bad):
    hidden = states_of(small_embedding, 1, 2)
    hidden[0, 1, 5] = bad
    for kernel in kernels:
        session = open_kernel(small_embedding, kernel, head_model)
        logits = session.run(None, {"hidden": hidden})[0]
        assert_logits(logits[:, :1], small_embedding, hidden[:, :1])
        assert not np.isfinite(logits[0, 1]).any()


@pytest.mark.parametrize("kind", ["double", "float16", "float"])
def test_models_of_every_float_type_give_what_the_graph_gives(library, small_embedding, kind):
    """Kernels know two types; tables of others go through float32."""
    dtype = {"double": np.float64, "float16": np.float16, "float": np.float32}[kind]
    rows, width = small_embedding.rows, small_embedding.width
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        f"g (int64[b, s] ids) => ({kind}[b, s, {width}] x, {kind}[n, {rows}] y)"
        "{ x = Gather(t, ids) f = Reshape(x, flat) y = Gemm<transB = 1>(f, t, bias) }"
    )
    table = small_embedding.dense().astype(dtype)
    bias = np.linspace(0, 1, rows).astype(dtype)
    for name, array in (("t", table), ("flat", np.array([-1, width])), ("bias", bias)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    packed = ir.from_proto(model)
    CompressTable("t", small_embedding, heads=True)(packed)
    content = ir.to_proto(packed).SerializeToString()
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    ids = {"ids": np.arange(60).reshape(3, 20)}
    x, y = ort.InferenceSession(content, options).run(None, ids)
    wanted_x, wanted_y = ort.InferenceSession(content).run(None, ids)
    assert (x.dtype, y.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(x, wanted_x)
    np.testing.assert_allclose(y, wanted_y, atol=0.05 * np.ptp(wanted_y))
    chosen = np.take_along_axis(wanted_y, y.argmax(axis=1)[:, None], 1)[:, 0]
    np.testing.assert_allclose(chosen, wanted_y.max(axis=1), rtol=2e-3)  # float16 has ties


def test_two_tables_of_a_model_have_a_kernel_each(library, pack_layouts, tmp_path):
    """Their functions have different names, and the library knows them; none is left to inline."""
    first, second = pack_layouts
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (int64[b, s] ids) => (x, y, z)'
        "{ x = Gather(t, ids) y = Gather(u, ids) h = Transpose(u) z = MatMul(y, h) }"
    )
    for name, embedding in (("t", first), ("u", second)):
        tensor = onnx.numpy_helper.from_array(embedding.dense(), name)
        model.graph.initializer.append(tensor)
    packed = ir.from_proto(model)
    CompressTable("t", first)(packed)
    CompressTable("u", second, heads=True)(packed)
    for output in packed.graph.outputs:
        output.dtype = ir.DataType.FLOAT
    content = ir.to_proto(packed).SerializeToString()
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ids = np.arange(60).reshape(3, 20)
    x, y, z = ort.InferenceSession(content, options).run(None, {"ids": ids})
    np.testing.assert_array_equal(x, first.lookup(ids))
    np.testing.assert_array_equal(y, second.lookup(ids))
    wanted = second.logits(second.lookup(ids))
    np.testing.assert_allclose(z, wanted, atol=0.05 * np.ptp(wanted))
    run = [
        n.op_type
        for n in onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node
        if n.domain == "ai.lighttoken"
    ]
    assert sorted(run) == ["CompressedEmbedding", "CompressedEmbedding2", "CompressedHead"]
    plain = ort.InferenceSession(content).run(None, {"ids": ids})
    np.testing.assert_array_equal(plain[0], x)
    np.testing.assert_array_equal(plain[1], y)


def test_a_head_of_its_own_has_a_kernel(library, pack_layouts, tmp_path):
    """Table and head are two, of layouts that differ; logits are as near as those of any head."""
    table, head = pack_layouts
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (int64[b, s] ids) => '
        f"(float[b, s, {table.rows}] logits)"
        "{ x = Gather(t, ids) h = MatMul(x, w) y = MatMul(h, m) logits = Add(y, bias) }"
    )
    rng = np.random.default_rng(0)
    tensors = {
        "t": table.dense(),
        "w": rng.normal(size=(table.width, head.width)).astype(np.float32),
        "m": head.dense().T.copy(),
        "bias": np.linspace(0, 1, table.rows).astype(np.float32),
    }
    for name, array in tensors.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    packed = ir.from_proto(model)
    CompressHead("m", head)(packed)
    CompressTable("t", table)(packed)
    content = ir.to_proto(packed).SerializeToString()
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ids = {"ids": np.arange(60).reshape(3, 20)}
    (got,) = ort.InferenceSession(content, options).run(None, ids)
    (plain,) = ort.InferenceSession(content).run(None, ids)
    logits = head.logits(table.lookup(ids["ids"]) @ tensors["w"])
    wanted = logits + tensors["bias"]
    np.testing.assert_allclose(plain, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_allclose(got, plain, rtol=0, atol=0.05 * np.ptp(logits))
    best = (got - tensors["bias"]).argmax(axis=-1)
    assert (best == logits.argmax(axis=-1)).all()
    nodes = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node
    run = [node.op_type for node in nodes if node.domain == "ai.lighttoken"]
    assert sorted(run) == ["CompressedEmbedding", "CompressedHead"]


@pytest.mark.parametrize("make", [decode_model, head_model])
def test_another_output_type_is_refused(open_kernel, small_embedding, make):
    model = make(small_embedding)
    (to,) = (a for a in model.graph.node[0].attribute if a.name == "to")
    to.i = int(ir.DataType.DOUBLE)
    with pytest.raises(Exception, match="output of ONNX type 11: float and float16 are known"):
        open_kernel(small_embedding, "", lambda _: model)


def test_a_head_refuses_states_of_another_width(open_kernel, small_embedding):
    model = head_model(small_embedding)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].ClearField("dim_value")
    session = open_kernel(small_embedding, "", lambda _: model)
    with pytest.raises(Exception, match="hidden states must have 48 columns"):
        session.run(None, {"hidden": np.zeros((1, 1, 5), np.float32)})


def test_a_head_refuses_codes_that_are_short(open_kernel, small_embedding):
    model = head_model(small_embedding)
    (covered,) = (a for a in model.graph.node[0].attribute if a.name == "covered")
    covered.s = covered.s.replace(b"707", b"999")
    with pytest.raises(
        Exception, match=r"covered says 999 rows of part stages.0.codes, which stores 768"
    ):
        open_kernel(small_embedding, "", lambda _: model)


# --- sessions and the command line


@pytest.fixture(autouse=True)
def use_library(library, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, str(library))
    monkeypatch.delenv("LIGHTTOKEN_KERNEL", raising=False)


@pytest.fixture
def model(tmp_path, small_embedding):
    path = tmp_path / "model.onnx"
    path.write_bytes(decode_model(small_embedding).SerializeToString())
    return path


def test_a_session_finds_the_kernel_by_itself(model, small_embedding):
    ids = np.arange(6)[None]
    for op in (True, False):
        session = open_session(model, op=op)
        assert session.native_op == op
        rows = session.run({"ids": ids})["rows"]
        np.testing.assert_array_equal(rows, small_embedding.lookup(ids))


def test_without_a_library_the_function_runs(model, monkeypatch, small_embedding):
    monkeypatch.setenv(native.VARIABLE, str(model.parent / "none.so"))
    session = open_session(model)
    assert not session.native_op
    assert session.run({"ids": [[1]]})["rows"].shape == (1, 1, small_embedding.width)
    assert native.find().problem == f"{native.VARIABLE}={model.parent / 'none.so'} is not there"


def test_a_library_of_another_kind_is_left_out(model, monkeypatch, capsys):
    other = model.parent / "other.so"
    other.write_bytes(b"no library")
    monkeypatch.setenv(native.VARIABLE, str(other))
    assert not open_session(model).native_op
    assert not native.find().usable
    assert run(["doctor"]) == 0
    assert "does not load, build it anew with lighttoken op" in " ".join(
        capsys.readouterr().out.split()
    )


def test_doctor_says_where_the_kernel_is_or_how_to_get_it(monkeypatch, capsys, library):
    assert run(["doctor", "--json"]) == 0
    assert f"found, {library}" in capsys.readouterr().out
    monkeypatch.delenv(native.VARIABLE)
    monkeypatch.setattr(native, "LIBRARY", Path("none.so"))
    assert run(["doctor"]) == 0
    assert "not built, decoding is slower without it: lighttoken op" in capsys.readouterr().out


def test_the_command_line_knows_all_targets():
    (target,) = (p for p in command.params if p.name == "target")
    assert list(target.type.choices) == list(TARGETS)


def test_calls_for_another_machine_are_printed(capsys):
    assert run(["op", "--target", "android-arm64", "--print"]) == 0
    configure, make = capsys.readouterr().out.splitlines()
    assert '"-DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK_HOME/build' in configure
    assert "-DANDROID_ABI=arm64-v8a" in configure
    assert make == "cmake --build build"


def test_what_a_build_lacks_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    with pytest.raises(BuildError, match="ANDROID_NDK_HOME is not set"):
        build(TARGETS["android-arm64"], tmp_path, tmp_path / "x.so")
    with pytest.raises(BuildError, match=r"has no onnxruntime_cxx_api.h"):
        find_headers(tmp_path)
    (tmp_path / "onnxruntime_cxx_api.h").write_text("#error not the real one\n")
    with pytest.raises(BuildError, match="not the real one"):
        build(TARGETS["host"], tmp_path, tmp_path / "x.so")
    assert not (tmp_path / "x.so").exists()
    assert "-DONNXRUNTIME_INCLUDE_DIR=here" in cmake_call(TARGETS["host"], "here", "build")


def test_the_library_is_small_and_needs_no_onnxruntime(library):
    assert library.stat().st_size < 2_000_000
    if sys.platform == "linux":
        needed = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
        assert "onnxruntime" not in needed
        assert "stdc++" not in needed


PUTS = """
import os, pathlib, signal, subprocess, sys, time
from runtime.custom_op import build
build._call([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
COMPILES = """
import os, pathlib, subprocess, sys, tempfile, time
tempfile.mkdtemp()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid} .")
time.sleep(300)
"""


def test_a_build_that_is_interrupted_leaves_no_compiler(tmp_path):
    (tmp_path / "tmp").mkdir()
    pids = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-c", PUTS, COMPILES, str(pids)],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (pids.exists() and pids.read_text().endswith(".")):
        assert process.poll() is None
        time.sleep(0.01)
    family = [psutil.Process(int(pid)) for pid in pids.read_text().split()[:2]]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert psutil.wait_procs(family, timeout=5)[1] == []
    left = [path.name for path in (tmp_path / "tmp").iterdir() if path.name != ".ses"]
    assert left == []


def test_the_library_replaces_a_library_and_nothing_else(tmp_path):
    made, out = tmp_path / "made", tmp_path / "out.so"
    made.write_text("new")
    _put(made, out)
    out.write_text("old")
    _put(made, out)
    assert out.read_text() == "new"
    (tmp_path / "link.so").symlink_to("out.so")
    (tmp_path / "folder.so").mkdir()
    for name in ("link.so", "folder.so"):
        with pytest.raises(BuildError, match=f"{name} is no file, and is not replaced"):
            _put(made, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"made", "out.so", "link.so", "folder.so"}
