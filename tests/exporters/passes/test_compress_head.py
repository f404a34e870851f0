"""Rewritten, a head of its own gives what ``logits`` gives, whatever stands around it."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters.passes.compress_head import CompressHead
from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.passes.keep_last_logits import KeepLastLogits
from toolkit.bundle.feeds import LOGITS_TO_KEEP
from toolkit.graph.contract import DOMAIN, HEAD, LOOKUP

ROWS, WIDTH, STATES = 300, 12, 8
RNG = np.random.default_rng(0)
TENSORS = {
    "t": RNG.normal(size=(ROWS, WIDTH)).astype(np.float32),
    "w": RNG.normal(size=(WIDTH, STATES)).astype(np.float32),
    "m": RNG.normal(size=(STATES, ROWS)).astype(np.float32),
    "bias": RNG.normal(size=ROWS).astype(np.float32),
    "cap": np.float32(1000),
}
IDS = RNG.integers(0, ROWS, (2, 5))
START = "x = Gather(t, ids) h = MatMul(x, w) "
BODIES = {
    "plain": "logits = MatMul(h, m)",
    "bias": "y = MatMul(h, m) logits = Add(y, bias)",
    "soft cap": "y = MatMul(h, m) d = Div(y, cap) s = Tanh(d) logits = Mul(s, cap)",
}


@pytest.fixture(scope="module")
def embedding(pack_table):
    return pack_table(ROWS, STATES, dense=[(ROWS, 20, 5)], columns=[(60, 8)], block=16)


@pytest.fixture
def untied(graph):
    def build(kind, dtype="float"):
        held = {n: v for n, v in TENSORS.items() if n in START + BODIES[kind]}
        half = {n: v.astype(np.float16) for n, v in held.items()}
        signature = f"(int64[b,s] ids) => ({dtype}[b,s,{ROWS}] logits)"
        return graph(signature, START + BODIES[kind], **(held if dtype == "float" else half))

    return build


def hidden(rows=TENSORS["t"]):
    return rows[IDS] @ TENSORS["w"]


def check(got, kind, logits, places=1e-5):
    """``got`` is what stands behind the head for its ``logits``, to so much of the largest."""
    wanted = logits + TENSORS["bias"] if kind == "bias" else logits
    if kind == "soft cap":
        wanted = np.tanh(logits / TENSORS["cap"]) * TENSORS["cap"]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=places * np.abs(logits).max())


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("kind", BODIES)
def test_the_head_reads_packed_rows(untied, embedding, run_model, kind, inline):
    model = untied(kind)
    assert CompressHead("m", embedding)(model).modified
    if inline:
        InlineFunctions()(model)
    (got,) = run_model(model, ids=IDS)
    check(got, kind, embedding.logits(hidden()))
    names = set(model.graph.initializers)
    assert "m" not in names
    assert "m.stages.0.codes" in names
    assert "t" in names  # it stays for the look-up


def test_in_half_precision(untied, embedding, run_model):
    model = untied("plain", "float16")
    CompressHead("m", embedding)(model)
    (got,) = run_model(model, ids=IDS)
    assert got.dtype == np.float16
    check(got, "plain", embedding.logits(hidden()), 4e-3)


@pytest.mark.parametrize("kind", BODIES)
def test_table_and_head_are_two(untied, embedding, pack_table, run_model, kind):
    model = untied(kind)
    table = pack_table(ROWS, WIDTH, dense=[(ROWS, 13, 5)], columns=[(20, None)], block=4)
    CompressHead("m", embedding)(model)
    CompressTable("t", table, heads=True)(model)
    assert [n.op_type for n in model.graph if n.domain == DOMAIN] == [LOOKUP, HEAD]
    (got,) = run_model(model, ids=IDS)
    check(got, kind, embedding.logits(hidden(table.dense())))


@pytest.mark.parametrize("kind", BODIES)
def test_the_last_logits_alone(untied, embedding, kind):
    model = untied(kind)
    CompressHead("m", embedding)(model)
    assert KeepLastLogits()(model).modified
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    (whole,) = session.run(None, {"ids": IDS})
    check(whole, kind, embedding.logits(hidden()))
    (last,) = session.run(None, {"ids": IDS, LOGITS_TO_KEEP: np.array(1, np.int64)})
    assert last.shape == (2, 1, ROWS)
    np.testing.assert_allclose(last, whole[:, -1:], rtol=1e-4, atol=1e-3)


def test_a_head_that_is_not_there_or_of_another_shape_is_refused(untied, embedding, pack_table):
    with pytest.raises(ir.passes.PreconditionError, match="no output head has a matrix 'other'"):
        CompressHead("other", embedding)(untied("plain"))
    with pytest.raises(ir.passes.PreconditionError, match="'m' is 300 x 8, the embedding 300 x 9"):
        CompressHead("m", pack_table(ROWS, 9))(untied("plain"))
