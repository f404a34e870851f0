"""A graph's outputs say what it is for, whatever config.json says."""

import numpy as np
import pytest

from exporters.sources.graph_task import task_of, vector_of

TABLE = np.zeros((300, 6), np.float32)
HEADS = np.zeros((6, 290), np.float32)  # of a table that was padded
LABELS = np.zeros((6, 3), np.float32)


def built(graph, outputs, body, **more):
    text = f"(int64[b,s] input_ids{more.pop('inputs', '')}) => ({outputs})"
    return graph(text, f"x = Gather(t, input_ids) {body}", t=TABLE, h=HEADS, l=LABELS, **more).graph


CASES = [
    ("float[b,s,6] last_hidden_state", "last_hidden_state = Relu(x)", "feature-extraction"),
    ("float[b,s,6] output", "output = Relu(x)", "feature-extraction"),
    ("float[b,s,290] logits", "logits = MatMul(x, h)", "fill-mask"),
    ("float[b,s,290] output", "output = MatMul(x, h)", "fill-mask"),
    ("float[b,s,3] logits", "logits = MatMul(x, l)", "token-classification"),
    (
        "float[b,3] logits",
        "y = MatMul(x, l) logits = ReduceMax<axes = [1], keepdims = 0>(y)",
        "text-classification",
    ),
    (
        "float[b,s,6] start_logits, float[b,s,6] end_logits",
        "start_logits = Relu(x) end_logits = Neg(x)",
        "question-answering",
    ),
]


@pytest.mark.parametrize(("outputs", "body", "task"), CASES)
def test_a_masked_models_config_beside_it(graph, outputs, body, task):
    assert task_of(built(graph, outputs, body, opset=17), "fill-mask", has_mask=True) == task


@pytest.mark.parametrize(
    ("outputs", "body", "task"), [case for case in CASES if "output" not in case[0]]
)
def test_nothing_beside_it(graph, outputs, body, task):
    found = built(graph, outputs, body, opset=17)
    assert task_of(found, "feature-extraction", has_mask=True) == task


def test_without_a_mask_words_are_written(graph):
    found = built(graph, "float[b,s,290] logits", "logits = MatMul(x, h)")
    assert task_of(found, "feature-extraction", has_mask=False) == "text-generation"
    cached = built(
        graph,
        "float[b,s,290] logits",
        "logits = MatMul(x, h)",
        inputs=", float[b,1,p,6] past_key_values_0_key",
    )
    assert task_of(cached, "feature-extraction", has_mask=True) == "text-generation"


@pytest.mark.parametrize("told", ["text-generation", "text2text-generation", "fill-mask"])
def test_what_is_told_holds_where_the_outputs_allow_it(graph, told):
    found = built(graph, "float[b,s,290] logits", "logits = MatMul(x, h)")
    assert task_of(found, told, has_mask=True) == told


def test_the_encoder_of_a_translator_gives_features(graph):
    found = built(graph, "float[b,s,6] last_hidden_state", "last_hidden_state = Relu(x)")
    assert task_of(found, "text2text-generation", has_mask=False) == "feature-extraction"


@pytest.mark.parametrize("told", ["fill-mask", "text-generation", "text-classification"])
def test_logits_of_unknown_shape_are_what_is_told(graph, told):
    found = built(graph, "float[b,s,n] logits", "logits = MatMul(x, h)")
    assert task_of(found, told, has_mask=True) == told


def test_labels_beside_logits_of_unknown_width(graph):
    found = built(graph, "float[b,s,n] logits", "logits = MatMul(x, l)")
    told = "feature-extraction"
    assert task_of(found, told, has_mask=False, labels=3) == "token-classification"
    assert task_of(found, told, has_mask=False) == told
    assert task_of(found, "fill-mask", has_mask=True, labels=3) == "fill-mask"


def test_ids_of_several_choices(graph):
    found = graph(
        "(int64[b,c,s] input_ids) => (float[b,c] logits)",
        "x = Gather(t, input_ids) y = ReduceMax<axes = [3], keepdims = 0>(x)"
        " logits = ReduceMax<axes = [2], keepdims = 0>(y)",
        t=TABLE,
        opset=17,
    ).graph
    assert task_of(found, "feature-extraction", has_mask=True) == "multiple-choice"


def test_vectors_that_a_graph_pools_itself(graph):
    outputs = "float[b,s,6] last_hidden_state, float[b,6] {}"
    body = "last_hidden_state = Relu(x) {} = ReduceMax<axes = [1], keepdims = 0>(x)"

    def made(name):
        return built(graph, outputs.format(name), body.format(name), opset=17)

    assert vector_of(made("text_embeds"), None) == "text_embeds"
    assert vector_of(made("pooler_output"), None) is None
    assert vector_of(made("pooler_output"), "pooler_output") == "pooler_output"
    assert vector_of(made("other"), "pooler_output") is None
