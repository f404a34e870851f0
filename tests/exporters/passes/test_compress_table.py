"""Rewritten, a model answers as if its table had been replaced by the decoded one."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from exporters.ops.layer import graph_tensors
from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.passes.packed_layers import check_opset
from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN, LOOKUP

ROWS, WIDTH = 37, 6
IDS = np.random.default_rng(1).integers(0, ROWS, (2, 5))
PLAIN = "(int64[b,s] ids) => (float[b,s,6] rows)"


@pytest.fixture(scope="module")
def embedding(pack_table):
    """No low-rank part: every value is exact."""
    return pack_table(ROWS, WIDTH, dense=[(ROWS, 13, 5)], columns=[(20, None)], block=4)


def dense(dtype=np.float32):
    return np.random.default_rng(2).normal(size=(ROWS, WIDTH)).astype(dtype)


@pytest.fixture(scope="module")
def pair(graph, embedding):
    """``pair(signature, body)``: the rewritten model, and the original with its table replaced."""

    def build(signature, body, *, dtype=np.float32, opset=18, ir_version=10, **tensors):
        kept = {"opset": opset, "ir_version": ir_version} | tensors
        rewritten = graph(signature, body, t=dense(dtype), **kept)
        CompressTable("t", embedding)(rewritten)
        return rewritten, graph(signature, body, t=embedding.dense().astype(dtype), **kept)

    return build


def packed_nodes(model):
    return [node for node in model.graph if node.op_type == LOOKUP]


FORMS = {
    "output of the graph": (PLAIN, "rows = Gather(t, ids)"),
    "read by others": (
        "(int64[b,s] ids) => (float[b,s,6] rows)",
        'x = Gather(t, ids) rows = Gelu<approximate = "tanh">(x)',
    ),
    "ids feed other nodes": (
        "(int64[b,s] ids) => (float[b,s,6] rows, bool[b,s] padding, int64[n] shape)",
        "rows = Gather(t, ids) padding = Equal(ids, zero) shape = Shape(ids)",
    ),
    "two lookups": (
        "(int64[b,s] ids) => (float[b,s,6] rows)",
        "i = Cast<to = 6>(ids) x = Gather(t, ids) y = Gather(t, i) rows = Add(x, y)",
    ),
    "negated axis": (PLAIN, "rows = Gather<axis = -2>(t, ids)"),
    "a branch": (
        "(int64[b,s] ids) => (float[b,s,6] rows)",
        """
        some = Size(ids)
        any = Cast<to = 9>(some)
        rows = If (any) <
            then_branch = g1 () => (float[b,s,6] x) { x = Gather(t, ids) },
            else_branch = g2 () => (float[b,s,6] y) { y0 = Gather(t, ids) y = Neg(y0) }
        >
        """,
    ),
}


@pytest.mark.parametrize("what", FORMS)
def test_the_outputs_are_those_of_the_decoded_table(pair, run_model, what):
    signature, body = FORMS[what]
    rewritten, replaced = pair(signature, body, opset=20, zero=np.array(0, np.int64))
    got, wanted = run_model(rewritten, ids=IDS), run_model(replaced, ids=IDS)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "t" not in rewritten.graph.initializers
    onnx.checker.check_model(ir.to_proto(rewritten), full_check=True)


def test_a_head_that_shares_the_table_keeps_the_dense_one(graph, run_model, embedding):
    body = "x = Gather(t, ids) h = Transpose<perm = [1, 0]>(t) logits = MatMul(x, h)"
    model = graph("(int64[b,s] ids) => (float[b,s,37] logits)", body, t=dense())
    CompressTable("t", embedding)(model)
    (logits,) = run_model(model, ids=IDS)
    np.testing.assert_allclose(logits, embedding.lookup(IDS) @ dense().T, rtol=1e-4, atol=1e-5)
    assert "t" in model.graph.initializers


def test_a_half_precision_table_gives_half_precision_rows(pair, run_model):
    signature = "(int64[b,s] ids) => (float16[b,s,6] rows)"
    rewritten, replaced = pair(signature, "rows = Gather(t, ids)", dtype=np.float16)
    (got,), (wanted,) = run_model(rewritten, ids=IDS), run_model(replaced, ids=IDS)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("ir_version", "opset"), [(4, 13), (6, 13), (7, 13), (7, 14), (8, 15), (9, 20), (10, 22)]
)
def test_models_of_every_age_load(pair, run_model, ir_version, opset):
    rewritten, replaced = pair(PLAIN, "rows = Gather(t, ids)", opset=opset, ir_version=ir_version)
    (got,), (wanted,) = run_model(rewritten, ids=IDS), run_model(replaced, ids=IDS)
    np.testing.assert_array_equal(got, wanted)
    onnx.checker.check_model(ir.to_proto(rewritten))
    assert rewritten.ir_version >= 8  # the first with functions


def test_a_table_that_callers_could_override_is_no_input_any_more(graph, run_model, embedding):
    """Exporters of old listed every initializer among the inputs as well."""
    model = graph(
        "(int64[b,s] ids, float[37,6] t) => (float[b,s,6] rows)",
        "rows = Gather(t, ids)",
        t=dense(),
    )
    CompressTable("t", embedding)(model)
    (rows,) = run_model(model, ids=IDS)
    np.testing.assert_array_equal(rows, embedding.lookup(IDS))


def test_names_that_are_taken_are_left_alone(graph, run_model, embedding):
    model = graph(
        PLAIN,
        "signs = Gather(t, ids) a = Add(signs, mean) rows = Add(a, codes)",
        t=dense(),
        mean=np.full(6, 7, np.float32),
        codes=np.full(6, 9, np.float32),
    )
    model.graph.initializers["mean"].name = "t.mean"
    model.graph.initializers["codes"].name = "t.stages.0.codes"
    model.graph[0].outputs[0].name = "t.signs"
    model.graph[1].name = "embedding_packed"
    CompressTable("t", embedding)(model)
    (rows,) = run_model(model, ids=IDS)
    np.testing.assert_array_equal(rows, embedding.lookup(IDS) + np.float32(7) + np.float32(9))


def test_each_lookup_gets_a_node_of_its_own_name(pair):
    rewritten, _ = pair(*FORMS["two lookups"])
    names = [node.name for node in packed_nodes(rewritten)]
    assert len(names) == len(set(names)) == 2


def test_the_node_reads_the_ids_and_tensors_named_after_the_table(pair, embedding):
    rewritten, _ = pair(PLAIN, "rows = Gather(t, ids)")
    (node,) = packed_nodes(rewritten)
    names = [f"t.{name}" for name in graph_tensors(embedding)]
    assert (node.domain, [value.name for value in node.inputs]) == (DOMAIN, ["ids", *names])
    assert list(rewritten.graph.initializers) == names


def test_the_table_must_be_one_that_ids_look_up(graph, embedding):
    model = graph(PLAIN, "rows = Gather(t, ids)", t=dense())
    with pytest.raises(ir.passes.PreconditionError, match="no Gather reads a table 'other'"):
        CompressTable("other", embedding)(model)


def test_the_embedding_must_have_the_tables_shape(graph, pack_table):
    model = graph(PLAIN, "rows = Gather(t, ids)", t=dense())
    with pytest.raises(ir.passes.PreconditionError, match="'t' is 37 x 6, the embedding 36 x 6"):
        CompressTable("t", pack_table(36, 6))(model)
    assert "t" in model.graph.initializers


def test_an_old_opset_is_refused_before_anything_changes(graph, embedding):
    model = graph(PLAIN, "rows = Gather(t, ids)", opset=12, t=dense())
    with pytest.raises(InputError, match="has opset 12, the packed layer needs 13") as error:
        check_opset(model)
    assert "\n" not in str(error.value)
    with pytest.raises(ir.passes.PreconditionError):
        CompressTable("t", embedding)(model)
    assert [node.op_type for node in model.graph] == ["Gather"]


def test_a_lookup_that_was_missed_is_noticed(graph, embedding):
    model = graph(PLAIN, "rows = Gather(t, ids)", t=dense())
    with pytest.raises(ir.passes.PostconditionError, match="still reads 't'"):
        CompressTable("t", embedding).ensures(model)


@pytest.mark.parametrize("what", FORMS)
def test_inlined_there_is_no_function_and_no_domain_left(pair, run_model, what):
    signature, body = FORMS[what]
    rewritten, replaced = pair(signature, body, opset=20, zero=np.array(0, np.int64))
    InlineFunctions()(rewritten)
    assert not rewritten.functions
    assert set(rewritten.opset_imports) == {""}
    assert {node.domain for node in rewritten.graph.all_nodes()} == {""}
    got, wanted = run_model(rewritten, ids=IDS), run_model(replaced, ids=IDS)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    onnx.checker.check_model(ir.to_proto(rewritten), full_check=True)


def test_inlining_keeps_the_names_of_inputs_and_outputs(pair):
    rewritten, _ = pair(*FORMS["ids feed other nodes"], zero=np.array(0, np.int64))
    InlineFunctions()(rewritten)
    assert [value.name for value in rewritten.graph.inputs] == ["ids"]
    assert [value.name for value in rewritten.graph.outputs] == ["rows", "padding", "shape"]


def test_inlining_leaves_other_peoples_functions_alone(graph, run_model, embedding):
    model = graph(PLAIN, "x = Gather(t, ids) rows = Neg(x)", t=dense())
    CompressTable("t", embedding)(model)
    x = ir.Value(name="x")
    negate = ir.node("Neg", [x])
    body = ir.Graph([x], negate.outputs, nodes=[negate], opset_imports={"": 18}, name="twice")
    other = ir.Function("other", "Negate", graph=body, attributes=[])
    model.functions[other.identifier()] = other
    model.opset_imports["other"] = 1
    neg = next(node for node in model.graph if node.op_type == "Neg")
    neg.op_type, neg.domain = "Negate", "other"
    InlineFunctions()(model)
    assert [identifier[0] for identifier in model.functions] == ["other"]
    (rows,) = run_model(model, ids=IDS)
    np.testing.assert_array_equal(rows, -embedding.lookup(IDS))
