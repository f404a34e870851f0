"""Pooled in the graph, vectors are those of the Python pipeline."""

import numpy as np
import onnx_ir as ir
import pytest

from exporters import export
from exporters.passes.add_pooling import SENTENCE_OUTPUT, AddPooling
from runtime import open_pipeline
from runtime.tasks.pooling import MODES, pool
from toolkit import Budget
from toolkit.bundle.manifest import Pooling, read_manifest
from toolkit.errors import InputError

INPUTS = "(float[b,s,6] x, int64[b,s] attention_mask)"
SIGNATURE = f"{INPUTS} => (float[b,s,6] last_hidden_state)"
BODY = "last_hidden_state = Identity(x)"
WORDS = ["word3 word9", "word1", " ".join(f"word{i}" for i in range(60)), "", "word200 word7 word5"]


def padded(batch, length, *, holes=False):
    """States with garbage on the padding, and masks: full, short, empty, and with gaps inside."""
    rng = np.random.default_rng(batch * 100 + length)
    states = rng.normal(size=(batch, length, 6)).astype(np.float32)
    mask = (np.arange(length) < rng.integers(0, length + 1, (batch, 1))).astype(np.int64)
    mask[0] = 1
    if holes:
        mask = rng.integers(0, 2, mask.shape)
    states[mask == 0] = rng.choice(np.array([1e9, -1e9, np.nan, np.inf], np.float32))
    return states, mask


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", [*MODES, "cls+mean+lasttoken"])
def test_the_graph_pools_as_the_pipeline_does(graph, run_model, mode, normalize, opset):
    pooling = Pooling(mode, normalize=normalize)
    model = graph(SIGNATURE, BODY, opset=opset)
    assert AddPooling(pooling)(model).modified
    for batch, length in ((1, 1), (1, 8), (3, 5), (7, 33)):
        states, mask = padded(batch, length)
        if "cls" in mode:
            states[:, 0] = np.nan_to_num(states[:, 0], posinf=1.0)
        hidden, pooled = run_model(model, x=states, attention_mask=mask)
        np.testing.assert_array_equal(hidden, states)
        assert pooled.shape == (batch, 6 * len(pooling.modes))
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, pool(states, mask, pooling), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "cls"])
def test_gaps_in_a_mask_do_not_count(graph, run_model, mode):
    model = graph(SIGNATURE, BODY)
    AddPooling(Pooling(mode))(model)
    states, mask = padded(9, 12, holes=True)
    pooled = run_model(model, x=states, attention_mask=mask)[1]
    np.testing.assert_allclose(pooled, pool(states, mask, Pooling(mode)), rtol=1e-5, atol=1e-6)


def test_a_text_without_tokens_is_zeros(graph, run_model):
    for mode in MODES:
        model = graph(SIGNATURE, BODY)
        AddPooling(Pooling(mode, normalize=True))(model)
        states = np.full((2, 3, 6), 5, np.float32)
        assert not run_model(model, x=states, attention_mask=np.zeros((2, 3), np.int64))[1].any()


def test_half_floats_are_summed_as_floats(graph, run_model):
    half = "(float16[b,s,6] x, int64[b,s] attention_mask) => (float16[b,s,6] last_hidden_state)"
    model = graph(half, BODY)
    AddPooling(Pooling("mean"))(model)
    states = np.full((1, 40, 6), 6e4, np.float16)
    pooled = run_model(model, x=states, attention_mask=np.ones((1, 40), np.int64))[1]
    np.testing.assert_allclose(pooled, 6e4, rtol=1e-3)


def test_names_that_are_taken_stay_with_their_owners(graph, run_model):
    body = f"pooling_0 = Neg(x) {BODY}".replace("Identity(x)", "Neg(pooling_0)")
    model = graph(SIGNATURE, body)
    for value, name in zip(
        (model.graph[0].outputs[0],), ("pooling.0.Cast",), strict=True
    ):  # the name that the pass would give
        value.name = name
    AddPooling(Pooling("mean"))(model)
    states, mask = padded(2, 4)
    hidden, pooled = run_model(model, x=states, attention_mask=mask)
    np.testing.assert_array_equal(hidden, states)
    np.testing.assert_allclose(pooled, pool(states, mask, Pooling()), rtol=1e-5, atol=1e-6)


def test_token_vectors_may_go_by_the_other_name(graph):
    model = graph(SIGNATURE.replace("last_hidden_state", "token_embeddings"),
                  BODY.replace("last_hidden_state", "token_embeddings"))  # fmt: skip
    AddPooling(Pooling())(model)
    assert [value.name for value in model.graph.outputs] == ["token_embeddings", SENTENCE_OUTPUT]
    assert [str(size) for size in model.graph.outputs[1].shape] == ["b", "6"]


@pytest.mark.parametrize(
    ("signature", "body", "match"),
    [
        ("(float[b,s,6] x) => (float[b,s,6] last_hidden_state)", BODY, "no input attention_mask"),
        (f"{INPUTS} => (float[b,s,6] logits)", "logits = Identity(x)", "gives logits, and"),
        (
            f"{INPUTS} => (float[b,s,6] last_hidden_state, float[b,s,6] {SENTENCE_OUTPUT})",
            f"{BODY} {SENTENCE_OUTPUT} = Neg(x)",
            "already; leave --with-pooling out",
        ),
    ],
)
def test_a_graph_that_cannot_be_pooled_is_refused(graph, signature, body, match):
    with pytest.raises(InputError, match=match) as error:
        AddPooling(Pooling())(graph(signature, body))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_gives_the_pipelines_vectors(
    encoder_folder, quick, tmp_path, mode, normalize, repool, run_model
):
    folder = repool(encoder_folder, mode, normalize=normalize)
    out = tmp_path / "bundle"
    manifest = export(str(folder), out, Budget(ratio=6), options=quick(with_pooling=True))
    assert manifest.pooled
    assert read_manifest(out).pooling == Pooling(mode, normalize=normalize)
    pipeline = open_pipeline(out)
    tokens = pipeline.model.tokenizer.pad(pipeline.model.tokenizer.split(WORDS))
    feeds = {info.name: tokens[info.name] for info in pipeline.model.session.inputs}
    hidden, pooled = run_model(out / "model.onnx", **feeds)
    assert hidden.shape == (*feeds["input_ids"].shape, 32)
    np.testing.assert_allclose(pooled, pipeline(WORDS), atol=2e-6)


def test_what_says_nothing_of_pooling_is_refused(tiny_folder, quick, tmp_path):
    with pytest.raises(InputError, match="BertModel says nothing of pooling"):
        export(str(tiny_folder("BertModel")), tmp_path / "out", Budget(ratio=6),
               options=quick(with_pooling=True))  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_without_the_option_the_graph_is_as_it_was(exported):
    assert not exported.manifest.pooled
    outputs = ir.load(exported.bundle / "model.onnx").graph.outputs
    assert [value.name for value in outputs] == ["last_hidden_state"]
