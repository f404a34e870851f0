"""Language models beside their original: hand-worked agreement, and one pass for all figures."""

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from runtime.evaluate.figures import ORIGINAL
from runtime.evaluate.metrics import distributions
from runtime.evaluate.metrics.distributions import compare
from runtime.evaluate.metrics.language_model import language_model
from runtime.evaluate.model import EvaluatedModel
from runtime.session import open_session
from runtime.tasks.tokenize import open_tokenizer
from toolkit.errors import InputError

TEXT = "red green blue sea sky red green blue sea"
METRICS = ["top-1 agreement", "top-5 agreement", "KL divergence"]


@pytest.fixture
def table_model(tmp_path, tiny):
    """``table_model(name, table)``: the logits after token k are row k of the table."""

    def build(name, values, task="text-generation", graph=None):
        folder = tmp_path / name
        tiny.bundle(folder, "fill-mask", values, graph=graph)
        return EvaluatedModel(name, open_session(folder), open_tokenizer(folder), task, folder)

    return build


def agreement(models, text, **options):
    """The figures of a pass that compare with the original."""
    found = language_model(models, text, **options)
    return [figure for figure in found if figure.metric in METRICS]


def scores(figures, model):
    return {figure.metric: figure.score.value for figure in figures if figure.model == model}


@pytest.mark.parametrize("task", ["text-generation", "fill-mask"])
def test_a_model_agrees_with_itself(table_model, tiny, task):
    models = [table_model(name, tiny.table(10), task) for name in (ORIGINAL, "same")]
    figures = agreement(models, TEXT, resamples=20)
    assert [(figure.metric, figure.model) for figure in figures] == [(m, "same") for m in METRICS]
    assert scores(figures, "same") == dict(zip(METRICS, [100, 100, 0], strict=True))
    assert [figure.higher_is_better for figure in figures] == [True, True, False]
    assert {figure.measure for figure in figures} == {"text"}
    assert all(figure.difference is None for figure in figures)
    assert all(figure.score.low == figure.score.high for figure in figures)


def test_by_hand():
    original = np.log(np.array([[8, 4, 2, 1, 1, 1e-9, 1e-9], [1, 2, 3, 4, 5, 6, 7]], np.float64))
    other = original[:, [0, 1, 2, 3, 5, 4, 6]].copy()  # two tokens of the first row changed places
    other[1] = original[1, ::-1]
    first, five, divergence = compare(original.astype(np.float32), other.astype(np.float32))
    assert first.tolist() == [1, 0]
    # 2 .. 6 of the original, 0 .. 4 of the other: three of five are common.
    np.testing.assert_allclose(five, [0.8, 0.6])
    p, q = (np.array(row) / 28 for row in ([1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1]))
    expected = [(1 / 16) * np.log(1 / 1e-9), (p * np.log(p / q)).sum()]
    np.testing.assert_allclose(divergence, expected, rtol=1e-5)


def test_against_scipy_in_blocks(monkeypatch):
    monkeypatch.setattr(distributions, "_BLOCK_BYTES", 8 * 60 * 3)
    rng = np.random.default_rng(0)
    p, q = (rng.normal(size=(20, 60)).astype(np.float32) * 3 for _ in range(2))
    first, five, divergence = compare(p, q)
    np.testing.assert_allclose(
        divergence, rel_entr(softmax(p, -1), softmax(q, -1)).sum(-1), rtol=1e-5
    )
    assert first.tolist() == (p.argmax(-1) == q.argmax(-1)).tolist()
    best = [[set(np.argsort(row)[-5:]) for row in logits] for logits in (p, q)]
    assert (5 * five).round().tolist() == [len(a & b) for a, b in zip(*best, strict=True)]


def test_tokens_that_a_model_rules_out():
    original = np.array([[0.0, 0.0, -np.inf]], np.float32)
    assert compare(original, np.array([[0.0, 0.0, 0.0]], np.float32))[2] == pytest.approx(
        np.log(1.5)
    )
    assert compare(original, original)[2] == 0
    assert compare(np.zeros((1, 3), np.float32), original)[2] == np.inf


def test_fewer_tokens_than_five():
    _, five, _ = compare(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))
    assert five.tolist() == [1, 1]


def test_over_the_tokens_of_a_text(table_model, tiny):
    table = tiny.table(10)
    table[0] = 0
    other = table.copy()
    other[5] = -table[5]  # what follows red: asked for once, in the first window
    models = [table_model(ORIGINAL, table), table_model("other", other)]
    found = scores(agreement(models, TEXT, resamples=20), "other")
    assert found["top-1 agreement"] == pytest.approx(100 * 8 / 9)
    logs = log_softmax(np.stack([table[5], -table[5]]).astype(np.float64), -1)
    assert found["KL divergence"] == pytest.approx(
        (np.exp(logs[0]) * (logs[0] - logs[1])).sum() / 9, rel=1e-6
    )


def test_a_worse_table_agrees_less(table_model, tiny):
    rng = np.random.default_rng(0)
    table = tiny.table(10)
    noise = rng.normal(size=table.shape).astype(np.float32)
    models = [
        table_model(name, table + size * noise)
        for name, size in ((ORIGINAL, 0), ("near", 0.01), ("far", 1.0))
    ]
    figures = agreement(models, TEXT, resamples=20)
    near, far = scores(figures, "near"), scores(figures, "far")
    assert 0 < near["KL divergence"] < far["KL divergence"]
    assert near["top-1 agreement"] == 100 > far["top-1 agreement"]


@pytest.mark.parametrize("task", ["text-generation", "fill-mask"])
def test_one_pass_gives_what_each_alone_does(table_model, tiny, task, monkeypatch):
    models = [
        table_model(ORIGINAL, tiny.table(10) / 2, task),
        table_model("other", tiny.table(10) / 3, task),
    ]
    arguments = {"limit_tokens": 8, "resamples": 20, "seed": 5}
    alone = [language_model([model], TEXT, **arguments)[0] for model in models]
    runs = []
    run = type(models[0].session).run
    monkeypatch.setattr(
        type(models[0].session), "run", lambda *a: runs.append(a) or run(*a), raising=True
    )
    original, other, *compared = language_model(models, TEXT, **arguments)
    assert len(runs) == 2
    assert original == alone[0]
    assert (other.model, other.metric, other.score) == ("other", original.metric, alone[1].score)
    assert other.difference is not None
    assert [figure.metric for figure in compared] == METRICS


def test_a_single_model(table_model, tiny):
    model = table_model(ORIGINAL, tiny.table(10))
    assert [figure.metric for figure in language_model([model], TEXT)] == ["perplexity"]


def test_other_vocabularies(table_model, tiny):
    graph = tiny.graphs["fill-mask"].replace("float[b,s,10]", "float[b,s,12]")
    models = [
        table_model(ORIGINAL, tiny.table(10)),
        table_model("wide", tiny.table(12), graph=graph),
    ]
    with pytest.raises(InputError, match="wide gives 12 logits a token and original 10"):
        agreement(models, TEXT)
