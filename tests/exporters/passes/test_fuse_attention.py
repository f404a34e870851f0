"""Joined nodes: fewer of them, with equal values, and left alone where they would not be equal."""

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters import ExportOptions, export
from exporters.options import decided
from exporters.passes.forget_shapes import ForgetShapes
from exporters.passes.fuse_attention import FuseAttention, find_fusible
from exporters.passes.fuse_bias import FuseBias
from exporters.sources.source import load_source
from runtime import open_session
from toolkit import Budget
from toolkit.bundle.feeds import build_feeds
from toolkit.bundle.tensors import describe
from toolkit.errors import InputError
from toolkit.graph.store import store

BUDGET = Budget(ratio=6)
LAYERS = 2


@pytest.fixture(scope="module")
def as_onnx(tiny_folder, tmp_path_factory):
    """``as_onnx(architecture)``: the path of its float graph."""
    made = {}

    def path(architecture):
        if architecture not in made:
            work = tmp_path_factory.mktemp(architecture)
            made[architecture] = load_source(str(tiny_folder(architecture)), work).path
        return made[architecture]

    return path


def operators(model):
    return [node.op_type for node in model.graph.all_nodes()]


def fused(path, folder):
    """The graph with its attention joined, saved; and how many attentions that was."""
    model, attention = ir.load(path), FuseAttention()
    attention(model)
    ir.save(model, folder / "fused.onnx", external_data="fused.onnx.data")
    return folder / "fused.onnx", attention.count


def outputs(path, shape, *, padded=False, seed=0):
    """Of random ids; where ``padded``, all texts but the first are shorter."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(seed).integers(0, 300, shape)
    feeds = build_feeds(describe(session.get_inputs()), "input_ids", ids)
    if padded:
        for text in range(1, shape[0]):
            feeds["attention_mask"][text, 2 * text :] = 0
    return session.run(None, feeds)


FAMILIES = [
    "BertModel",
    "MPNetModel",  # two masks
    "GPT2LMHeadModel",  # causal, all texts' tokens in a row
    "LlamaForCausalLM",  # rotary positions, shared keys
    "ModernBertModel",  # rotary positions, masks of two widths
]


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_of_the_original_at_other_sizes_too(as_onnx, tmp_path, family):
    original = as_onnx(family)
    path, count = fused(original, tmp_path)
    assert count == LAYERS == find_fusible(original).attentions
    onnx.checker.check_model(str(path))
    before, after = operators(ir.load(original)), operators(ir.load(path))
    assert len(after) < len(before) - 7 * LAYERS
    assert after.count("MultiHeadAttention") == LAYERS
    assert "Softmax" not in after
    for shape, padded in (((1, 5), False), ((2, 33), False), ((4, 17), True)):
        wanted = outputs(original, shape, padded=padded)
        for one, other in zip(outputs(path, shape, padded=padded), wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5 * max(1, np.abs(other).max()))
    # The test could tell: padding does matter.
    full, short = (outputs(path, (4, 17), padded=padded)[0] for padded in (False, True))
    at = -1 if "LM" in family else 0  # what a causal model says of the first token
    assert np.abs(full[1, at] - short[1, at]).max() > 1e-3


def test_what_has_another_form_stays(as_onnx):
    assert find_fusible(as_onnx("DebertaV2Model")).attentions == 0


# Attention of 2 heads of 4 over 8 columns, as its parts; each may be written in several ways.
PARTS = {
    "split": "[0, 0, 2, 4]",
    "queries": "q4 = Transpose<perm = [0, 2, 1, 3]>(q3)",
    "keys": "k4 = Transpose<perm = [0, 2, 3, 1]>(k3)",
    "scaled": "scaled = Div(scores, two)",
    "masked": "masked = Add(scaled, mask)",
    "weights": "weights = Softmax<axis = -1>(masked)",
    "joined": "y = Reshape(turned, flat)",
}
MASK = "mask = Unsqueeze(added, axes)"  # [b, 1, 1, s]


@pytest.fixture(scope="module")
def written(graph, tmp_path_factory):
    """``written(part="other text", ...)``: the path of a model with such an attention."""
    rng = np.random.default_rng(0)
    count = itertools.count()

    def build(**changes):
        parts = PARTS | {"mask": MASK} | changes
        body = f"""
            x = Gather(table, input_ids)
            real = Cast<to = 1>(attention_mask)
            away = Sub(real, one)
            added = Mul(away, large)
            {parts["mask"]}
            q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
            q3 = Reshape(q, split) k3 = Reshape(k, split) v3 = Reshape(v, split)
            {parts["queries"]} {parts["keys"]} v4 = Transpose<perm = [0, 2, 1, 3]>(v3)
            scores = MatMul(q4, k4)
            {parts["scaled"]} {parts["masked"]} {parts["weights"]}
            weighted = MatMul(weights, v4)
            turned = Transpose<perm = [0, 2, 1, 3]>(weighted)
            {parts["joined"]}
        """
        tensors = {
            "table": rng.normal(size=(300, 8)).astype(np.float32),
            **{name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("wq", "wk", "wv")},
            "split": np.array(eval(parts["split"])),
            "flat": np.array([0, 0, -1]),
            "row": np.array([-1, 8]),
            "axes": np.array([1, 2]),
            "one": np.float32(1),
            "two": np.float32(2),
            "large": np.float32(1e4),
            "low": np.float32(-3e38),
            "lowest": np.float32(-np.inf),
            "zero": np.float32(0),
            "far": rng.normal(size=(1, 2, 1, 1)).astype(np.float32),
        }
        rank = "t, w" if parts["joined"] == "y = Reshape(turned, row)" else "b, s, w"
        signature = f"(int64[b, s] input_ids, int64[b, s] attention_mask) => (float[{rank}] y)"
        model = graph(signature, body, **tensors)
        path = tmp_path_factory.mktemp("written") / f"{next(count)}.onnx"
        ir.save(model, path)
        return path

    return build


GUARD = "w = Softmax<axis = -1>(masked) bad = IsNaN(w) weights = Where(bad, zero, w)"
CHOICE = "u = Unsqueeze(attention_mask, axes) there = Cast<to = 9>(u) mask = Where(there, zero, {})"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"queries": "q2 = Transpose<perm = [0, 2, 1, 3]>(q3) q4 = Mul(two, q2)"},
        {"keys": "k2 = Transpose<perm = [0, 2, 1, 3]>(k3) k4 = Transpose<perm = [0, 1, 3, 2]>(k2)"},
        {"scaled": "scaled = Identity(scores)", "masked": "masked = Add(mask, scores)"},
        {"masked": "near = Add(scaled, mask) masked = Add(far, near)"},
        {"scaled": "", "masked": "", "weights": "weights = Softmax<axis = 3>(scores)"},
        {"mask": CHOICE.format("low"), "weights": GUARD},
        {"joined": "y = Reshape(turned, row)"},
        {"queries": "q2 = Transpose<perm = [0, 2, 1, 3]>(q3) q4 = Relu(q2)"},
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_ways_to_write_attention(written, tmp_path, changes):
    original = written(**changes)
    path, count = fused(original, tmp_path)
    expected = 0 if "queries" in changes and "Relu" in changes["queries"] else 1
    assert count == find_fusible(original).attentions == expected  # heads of unknown number stay
    for shape, padded in (((1, 3), False), ((3, 9), True)):
        (one,), (other,) = (outputs(p, shape, padded=padded) for p in (path, original))
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "weights = Softmax<axis = 1>(masked)"},
        {"weights": "w = Softmax(masked) weights = Mul(w, w)"},
        {"mask": CHOICE.format("lowest"), "weights": GUARD},  # rows of zeros may come out of it
        {"scaled": "t = Mul(scores, two) scaled = Tanh(t)"},
    ],
    ids=str,
)
def test_what_only_looks_like_attention_stays(written, tmp_path, changes):
    assert fused(written(**changes), tmp_path)[1] == 0


def test_values_decide_where_the_form_does_not(written, tmp_path):
    original = written(
        split="[1, -1, 2, 4]",
        scaled="",
        masked="",
        weights="weights = Softmax(scores)",
        joined="t = Shape(x) y = Reshape(turned, t)",
    )
    path, count = fused(original, tmp_path)
    assert count == 1  # texts see one another there, which no single node tells
    assert find_fusible(original).attentions == 0
    (one,), (other,) = (outputs(each, (3, 7)) for each in (path, original))
    assert np.abs(one - other).max() > 0.1


def product_model(graph, body, **tensors):
    """x [n, 32] times a matrix [32, 16] of 4 bits, by another text."""
    rng = np.random.default_rng(0)
    model = graph(
        "(float[n, 32] x) => (float[n, m] y)",
        body,
        packed=rng.integers(0, 256, (16, 1, 16)).astype(np.uint8),
        scales=rng.uniform(0.01, 0.1, 16).astype(np.float32),
        bias=rng.normal(size=16).astype(np.float32),
        **tensors,
    )
    for node in model.graph:
        if node.op_type == "MatMulNBits":
            node.domain = "com.microsoft"
    model.opset_imports["com.microsoft"] = 1
    return model


NBITS = "p = MatMulNBits<K = 32, N = 16, bits = 4, block_size = 32>(x, packed, scales)"


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (f"{NBITS} y = Add(p, bias)", 1),
        (f"{NBITS} y = Add(bias, p)", 1),
        (f"{NBITS} q = Add(p, bias) y = Mul(q, p)", 0),
        (f"{NBITS} y = Add(p, one)", 0),
        (f"{NBITS} y = Add(p, p)", 0),
    ],
)
def test_a_product_adds_its_bias(graph, run_model, body, taken):
    model = product_model(graph, body, one=np.float32([1]))
    x = np.random.default_rng(1).normal(size=(5, 32)).astype(np.float32)
    before = run_model(model, x=x)[0]
    count = len(model.graph)
    FuseBias()(model)
    assert len(model.graph) == count - taken
    np.testing.assert_allclose(run_model(model, x=x)[0], before, atol=1e-5)


def test_shapes_on_the_way_go_but_for_our_own_nodes(graph):
    model = graph("(float[n, 2] x) => (float[n, 2] y)", "a = Relu(x) b = Relu(a) y = Relu(b)")
    a, b, y = (node.outputs[0] for node in model.graph)
    for value in (a, b, y):
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["n", 2])
    model.graph[1].domain = "ai.lighttoken"
    store(model.graph, "kept", np.float32([1]))
    ForgetShapes()(model)
    assert (a.type, a.shape) == (ir.TensorType(ir.DataType.FLOAT), None)  # types stay
    assert b.shape is not None
    assert y.shape is not None
    assert model.graph.initializers["kept"].shape is not None


@pytest.mark.parametrize("body", ["fp32", "int8", "int4"])
def test_a_bundle_has_fewer_nodes_and_the_same_values(encoder_folder, quick, tmp_path, body):
    found = {}
    for fuse in (None, False):
        options = quick(weights=body, fuse=fuse)
        manifest = export(str(encoder_folder), tmp_path / str(fuse), BUDGET, options=options)
        assert manifest.fused == (LAYERS if fuse is None else None)
        path = tmp_path / str(fuse) / manifest.model
        onnx.checker.check_model(str(path))
        found[fuse] = path, operators(ir.load(path))
    joined, plain = found[None][1], found[False][1]
    assert joined.count("MultiHeadAttention") == LAYERS
    assert "MultiHeadAttention" not in plain
    assert len(joined) < len(plain) - 20 * LAYERS
    for shape, padded in (((1, 5), False), ((3, 19), True)):
        one, other = (outputs(found[fuse][0], shape, padded=padded)[0] for fuse in (None, False))
        # Where a body rounds activations, few outputs differ by a step of that.
        assert np.median(np.abs(one - other)) < 1e-6 * np.abs(other).max()
        assert np.abs(one - other).max() < (1e-5 if body == "fp32" else 0.05) * np.abs(other).max()


def test_with_half_precision_on_request(encoder_folder, quick, tmp_path):
    options = quick(target="cuda", weights="fp16", fuse=True)
    manifest = export(str(encoder_folder), tmp_path / "out", BUDGET, options=options)
    assert manifest.fused == LAYERS
    session = open_session(tmp_path / "out", op=False)
    feeds = {info.name: np.ones((2, 5), np.int64) for info in session.inputs}
    assert all(np.isfinite(value).all() for value in session.run(feeds).values())


@pytest.mark.parametrize(
    "architecture", ["BertModel", "DistilBertModel", "ElectraModel", "MPNetModel"]
)
def test_attention_as_older_tracers_write_it(tiny_folder, tmp_path, architecture):
    """optimum's files tell no shapes, and compute the scale of the scores at run time."""
    pytest.importorskip("optimum.exporters.onnx")
    loaded = load_source(str(tiny_folder(architecture)), tmp_path, exporter="optimum")
    assert find_fusible(loaded.path).attentions == LAYERS


def test_what_is_left_says_why(graph):
    model = graph(
        "(float[b, 4] x, float[4, 4] w) => (float[b, 4] y)", "s = Softmax(x) y = MatMul(s, w)"
    )
    attentions = FuseAttention()
    result = attentions(model)
    assert not result.modified
    assert attentions.mismatches == ["Softmax : its scores are no product of queries and keys"]


def test_passes_say_whether_they_changed_anything(graph):
    model = graph("(float[n, 2] x) => (float[n, 2] y)", "a = Relu(x) y = Relu(a)")
    for each in (FuseAttention(), FuseBias()):
        assert not each(model).modified
    model.graph[0].outputs[0].shape = ir.Shape(["n", 2])
    assert ForgetShapes()(model).modified
    assert not ForgetShapes()(model).modified


def test_targets_decide(encoder_folder, quick, tmp_path):
    out = tmp_path / "out"
    assert export(str(encoder_folder), out, BUDGET, options=quick(target="webgpu")).fused is None
    plain = ExportOptions(decode="inline")
    assert (decided(plain).fuse, decided(ExportOptions()).fuse) == (False, True)
    with pytest.raises(InputError, match="qnn"):
        ExportOptions(target="qnn", fuse=True)
