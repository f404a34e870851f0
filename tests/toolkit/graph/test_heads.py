"""Heads are found by what they compute, and only where nothing else is computed."""

import numpy as np
import onnx_ir as ir
import pytest

from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.tables import PackedTable
from exporters.verify.check import check_model
from exporters.verify.differences import CheckError
from toolkit.graph.heads import find_heads, serves_heads_alone
from toolkit.graph.tables import find_token_table

ROWS, WIDTH = 150, 12
TABLE = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(size=ROWS).astype(np.float32)
IDS = np.random.default_rng(2).integers(0, ROWS, (2, 5))

MATMUL = "x = Gather(t, ids) h = Transpose<perm = [1, 0]>(t) y = MatMul(x, h)"
BARE = "x = Gather(t, ids) h = Transpose(t) y = MatMul(x, h)"
TWIN = "x = Gather(t, ids) y = MatMul(x, twin)"
GEMM = "x = Gather(t, ids) f = Reshape(x, flat) y = Gemm<transB = 1>(f, t, bias)"
GEMM_OF_TWIN = "x = Gather(t, ids) f = Reshape(x, flat) y = Gemm(f, twin)"
TURNED = "f = Transpose(t) x = Gather(f, ids) y = MatMul(x, t)"  # the head's matrix is the table
FOUND = {"matmul": MATMUL, "bare": BARE, "twin": TWIN, "gemm": GEMM, "gemm of twin": GEMM_OF_TWIN}
FOUND["turned"] = TURNED


@pytest.fixture
def tied(graph):
    def build(body, table=TABLE, twin=None):
        tensors = {"t": table.T.copy() if body == TURNED else table}
        if "twin" in body:
            tensors["twin"] = table.T.copy() if twin is None else twin
        if "bias" in body:
            tensors["bias"] = BIAS
        if "flat" in body:
            tensors["flat"] = np.array([-1, WIDTH])
        shape = f"[n,{ROWS}]" if "Gemm" in body else f"[b,s,{ROWS}]"
        return graph(f"(int64[b,s] ids) => (float{shape} y)", body, **tensors)

    return build


@pytest.fixture
def embedding(pack_table):
    return pack_table(ROWS, WIDTH, dense=[(ROWS, 20, 5)], columns=[(60, 8)], block=16)


def heads_of(model):
    table = find_token_table(model.graph)
    heads = find_heads(model.graph, table)
    return heads, serves_heads_alone(table, heads)


@pytest.mark.parametrize("kind", FOUND)
def test_every_form_of_a_head_is_found(tied, kind):
    model = tied(FOUND[kind])
    (head,), alone = heads_of(model)
    assert alone
    assert head.node.outputs[0].name == "y"
    assert head.hidden.name in ("x", "f")
    assert (head.bias is not None) == (kind == "gemm")


@pytest.mark.parametrize(
    ("body", "alone"),
    [
        ("x = Gather(t, ids) h = Transpose<perm = [0, 1]>(t) y = MatMul(x, h)", False),
        ("x = Gather(t, ids) f = Reshape(x, flat) y = Gemm<transB = 1, alpha = 2.0>(f, t)", False),
        ("x = Gather(t, ids) f = Reshape(x, flat) y = Gemm<transA = 1>(f, x)", True),
        ("x = Gather(t, ids) h = Transpose(t) z = MatMul(h, t) y = MatMul(x, z)", False),
        ("y = Gather(t, ids)", True),
    ],
)
def test_other_readers_are_no_heads(tied, body, alone):
    heads, served = heads_of(tied(body))
    assert heads == []
    assert served == alone


def test_a_matrix_that_is_merely_of_the_shape_is_no_twin(tied):
    other = TABLE.T.copy()
    other[3, 5] += 1
    assert heads_of(tied(TWIN, twin=other)) == ([], True)


def test_a_transpose_that_others_read_too_keeps_the_table(tied):
    model = tied(
        MATMUL.replace("y = MatMul(x, h)", "z = MatMul(x, h) s = ReduceSum(h) y = Add(z, s)")
    )
    heads, alone = heads_of(model)
    assert len(heads) == 1
    assert not alone


def dense(embedding, kind, x):
    logits = x @ embedding.dense().T
    if "gemm" in kind:
        logits = logits.reshape(-1, ROWS)
    return logits + BIAS if kind == "gemm" else logits


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("kind", FOUND)
def test_heads_read_what_the_look_up_reads(tied, embedding, run_model, kind, inline):
    model = tied(FOUND[kind])
    CompressTable("t", embedding, heads=True)(model)
    if inline:
        InlineFunctions()(model)
    (logits,) = run_model(model, ids=IDS)
    wanted = dense(embedding, kind, embedding.lookup(IDS))
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    names = set(model.graph.initializers)
    assert not {"t", "twin"} & names
    assert sum(name.startswith("t.stages.0.codes") for name in names) == 1


def test_without_heads_the_table_stays_for_them(tied, embedding, run_model):
    model = tied(MATMUL)
    CompressTable("t", embedding)(model)
    (logits,) = run_model(model, ids=IDS)
    np.testing.assert_allclose(logits, embedding.lookup(IDS) @ TABLE.T, rtol=1e-4, atol=1e-3)
    assert "t" in model.graph.initializers


def test_a_table_with_another_reader_stays_beside_the_packed_one(tied, embedding, run_model):
    model = tied(
        MATMUL.replace("y = MatMul(x, h)", "z = MatMul(x, h) s = ReduceSum(t) y = Add(z, s)")
    )
    CompressTable("t", embedding, heads=True)(model)
    (logits,) = run_model(model, ids=IDS)
    wanted = dense(embedding, "matmul", embedding.lookup(IDS)) + TABLE.sum()
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-2)
    assert "t" in model.graph.initializers
    assert not any(node.op_type == "Transpose" for node in model.graph)


@pytest.mark.parametrize("kind", FOUND)
def test_the_check_replaces_what_heads_read_too(tied, embedding, tmp_path, kind):
    original, packed = tmp_path / "original.onnx", tmp_path / "packed.onnx"
    ir.save(tied(FOUND[kind]), original)
    model = tied(FOUND[kind])
    CompressTable("t", embedding, heads=True)(model)
    ir.save(model, packed)
    parity = check_model(packed, original, [PackedTable("t", embedding, heads=1)])
    assert parity.rewrite <= 1e-6 * np.square(embedding.dense()).sum(axis=1).max()
    with pytest.raises(CheckError, match=r"the rewritten model and the original|unpacks at load"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_a_table_that_stands_transposed_stays_for_its_head(tied, embedding, run_model):
    model = tied(TURNED)
    CompressTable("t", embedding)(model)
    (logits,) = run_model(model, ids=IDS)
    np.testing.assert_allclose(logits, embedding.lookup(IDS) @ TABLE.T, rtol=1e-4, atol=1e-3)
    assert "t" in model.graph.initializers
    assert not any(node.op_type == "Transpose" for node in model.graph)
