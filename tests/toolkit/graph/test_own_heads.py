"""Heads with a matrix of their own are found by what they compute, and only where they can go."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from toolkit.graph.heads import find_heads, serves_heads_alone
from toolkit.graph.own_heads import find_own_heads, head_values
from toolkit.graph.tables import find_token_table

ROWS, WIDTH, STATES = 300, 12, 8
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
HEAD = RNG.normal(size=(ROWS, STATES)).astype(np.float32)
WHOLE = RNG.integers(-127, 128, (ROWS, STATES)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, ROWS).astype(np.float32)
TURNED = HEAD.T.copy()
OTHERS = {
    "w": RNG.normal(size=(WIDTH, STATES)).astype(np.float32),
    "bias": RNG.normal(size=ROWS).astype(np.float32),
    "cap": np.float32(30),
    "flat": np.array([-1, STATES]),
    "full": np.array([2, -1, ROWS]),
    "by_row": SCALES,
}
START = "x = Gather(t, ids) h = MatMul(x, w) "
DEQUANTIZED = "f = DequantizeLinear<axis = 0>(m, by_row) n = Transpose<perm = [1, 0]>(f) "
FORMS = {  # body, the stored matrix, and what it stands for
    "matmul": ("logits = MatMul(h, m)", HEAD.T.copy(), HEAD),
    "transpose": ("n = Transpose<perm = [1, 0]>(m) logits = MatMul(h, n)", HEAD, HEAD),
    "bias": ("y = MatMul(h, m) logits = Add(bias, y)", HEAD.T.copy(), HEAD),
    "gemm": (
        "f = Reshape(h, flat) y = Gemm<transB = 1>(f, m, bias) logits = Reshape(y, full)",
        HEAD,
        HEAD,
    ),
    "gemm of [d, V]": (
        "f = Reshape(h, flat) y = Gemm(f, m) logits = Reshape(y, full)",
        HEAD.T.copy(),
        HEAD,
    ),
    "soft cap": (
        "y = MatMul(h, m) d = Div(y, cap) s = Tanh(d) logits = Mul(s, cap)",
        HEAD.T.copy(),
        HEAD,
    ),
    "float16": (
        "n = Cast<to = 1>(m) logits = MatMul(h, n)",
        HEAD.T.astype(np.float16),
        HEAD.astype(np.float16).astype(np.float32),
    ),
    "integers": (
        DEQUANTIZED + "logits = MatMul(h, n)",
        WHOLE,
        WHOLE.astype(np.float32) * SCALES[:, None],
    ),
}


@pytest.fixture
def model(graph):
    def build(body, matrix=TURNED, output="logits", **more):
        tensors = {n: v for n, v in OTHERS.items() if n in START + body} | more
        signature = f"(int64[b,s] ids) => (float[b,s,{ROWS}] {output})"
        return graph(signature, START + body, t=TABLE, m=matrix, **tensors)

    return build


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_head_is_found(model, form):
    body, stored, wanted = FORMS[form]
    built = model(body, stored)
    (own,) = find_own_heads(built.graph)
    assert (own.name, own.rows, own.width, len(own.heads)) == ("m", ROWS, STATES, 1)
    assert own.heads[0].hidden.name in ("h", "f")
    assert (own.heads[0].bias is not None) == (form == "gemm")
    assert own.nbytes == stored.nbytes + (SCALES.nbytes if form == "integers" else 0)
    np.testing.assert_array_equal(head_values(own), wanted)


def test_the_form_is_told(model):
    forms = {form: find_own_heads(model(*FORMS[form][:2]).graph)[0].form for form in FORMS}
    assert forms["matmul"] == forms["transpose"] == "float"
    assert forms["float16"] == "float16, Cast"
    assert forms["integers"] == "int8, DequantizeLinear"


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("y = MatMul(h, m) s = ReduceSum(m) logits = Add(y, s)", {}),  # another reader
        ("e = Gather(m, ids) y = MatMul(h, m) logits = Add(y, bias)", {}),  # looked up as well
        ("y = MatMul(h, m) logits = Softmax(y)", {}),
        ("f = Reshape(h, flat) y = Gemm<alpha = 2.0>(f, m) logits = Reshape(y, full)", {}),
        ("n = Add(m, cap) logits = MatMul(h, n)", {}),  # computed
        ("logits = MatMul(h, m)", {"matrix": HEAD.T[:, :299].copy()}),  # of another vocabulary
        ("scores = MatMul(h, m)", {"output": "scores"}),
    ],
)
def test_what_cannot_go_or_is_no_head_is_left(model, body, more):
    assert find_own_heads(model(body, **more).graph) == []


def test_labels_of_a_classifier_are_no_vocabulary(graph):
    built = graph(
        "(int64[b,s] ids) => (float[b,s,20] logits)",
        START + "logits = MatMul(h, m)",
        t=TABLE[:20],
        w=OTHERS["w"],
        m=HEAD[:20].T.copy(),
    )
    assert find_own_heads(built.graph) == []


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_with_the_tables_values_is_the_tables(graph, turned):
    """Whatever a config says: values decide, and all of them."""

    def build(matrix):
        body = "x = Gather(t, ids) n = Transpose(m) logits = MatMul(x, n)"
        if turned:
            body, matrix = "x = Gather(t, ids) logits = MatMul(x, m)", matrix.T.copy()
        return graph(f"(int64[b,s] ids) => (float[b,s,{ROWS}] logits)", body, t=TABLE, m=matrix)

    same, other = build(TABLE.copy()), TABLE.copy()
    other[-1, -1] = np.nextafter(other[-1, -1], 9)  # the last number, by its last bit
    table = find_token_table(same.graph)
    assert len(find_heads(same.graph, table)) == 1
    assert serves_heads_alone(table, find_heads(same.graph, table))
    assert find_own_heads(same.graph) == []
    near = build(other)
    assert find_heads(near.graph, find_token_table(near.graph)) == []
    (own,) = find_own_heads(near.graph)
    np.testing.assert_array_equal(head_values(own), other)


def branches(then, other):
    """Logits of one of two branches, each with a product of its own."""
    value = helper.make_tensor_value_info
    made = [
        helper.make_graph(
            [helper.make_node("MatMul", ["h", matrix], [f"{name}.logits"])],
            name,
            [],
            [value(f"{name}.logits", onnx.TensorProto.FLOAT, None)],
        )
        for name, matrix in (("then", then), ("other", other))
    ]
    nodes = [
        helper.make_node("Gather", ["t", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("If", ["first"], ["logits"], then_branch=made[0], else_branch=made[1]),
    ]
    stored = {"t": TABLE, "w": OTHERS["w"], "m": HEAD.T.copy(), "n": HEAD.T * 2}
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(a), k) for k, a in stored.items()]
    inputs = [
        value("ids", onnx.TensorProto.INT64, ["b", "s"]),
        value("first", onnx.TensorProto.BOOL, []),
    ]
    outputs = [value("logits", onnx.TensorProto.FLOAT, ["b", "s", ROWS])]
    graph = helper.make_graph(nodes, "branches", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 18)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def test_branches_share_a_matrix_or_have_one_each():
    (own,) = find_own_heads(branches("m", "m").graph)
    assert (own.name, len(own.heads)) == ("m", 2)
    assert {own.name for own in find_own_heads(branches("m", "n").graph)} == {"m", "n"}
