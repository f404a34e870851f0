"""Intervals, verdicts, metrics from counts, and how all of it is shown."""

import json
import math
from functools import partial

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from runtime.evaluate.figures import ORIGINAL, SCHEMA, Figure, Interval
from runtime.evaluate.metrics.bootstrap import figures
from runtime.evaluate.metrics.confusion import metrics
from runtime.evaluate.render import render
from runtime.evaluate.report import EvaluationReport, Model
from toolkit.errors import InputError


def mean_of(values):
    return lambda chosen: float(values[chosen].mean())


def test_the_value_is_of_all_examples_each_once():
    values = np.array([1.0, 2.0, 6.0])
    [figure] = figures("text", "m", {ORIGINAL: mean_of(values)}, 3, resamples=50)
    assert figure.score.value == 3
    assert figure.difference is None
    assert (figure.count, figure.metric, figure.measure) == (3, "m", "text")
    assert 1 <= figure.score.low < figure.score.high <= 6


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        values = rng.exponential(size=80)  # mean 1
        [figure] = figures("t", "m", {ORIGINAL: mean_of(values)}, 80, resamples=300, seed=seed)
        covered += figure.score.low <= 1.0 <= figure.score.high
    assert 0.87 <= covered / 200 <= 0.98


def test_differences_of_equal_models_are_noise_as_often_as_they_say():
    rng = np.random.default_rng(1)
    noise = 0
    for seed in range(200):
        hard = 10 * rng.normal(size=60)  # what both find hard
        models = {ORIGINAL: mean_of(hard + rng.normal(size=60)),
                  "other": mean_of(hard + rng.normal(size=60))}  # fmt: skip
        other = figures("t", "m", models, 60, resamples=300, seed=seed)[1]
        noise += other.verdict == "noise"
        assert other.difference is not None
        width = other.difference.high - other.difference.low
        assert width < 0.5 * (other.score.high - other.score.low)
    assert 0.89 <= noise / 200 <= 0.99


def test_a_difference_is_taken_over_the_same_resamples():
    values = np.random.default_rng(2).normal(size=40)
    models = {ORIGINAL: mean_of(values), "other": mean_of(values + 0.001)}
    difference = figures("t", "m", models, 40)[1].difference
    assert difference is not None
    assert difference.low == pytest.approx(0.001)
    assert difference.high == pytest.approx(0.001)


def test_equal_seeds_give_equal_intervals():
    drawn = partial(figures, "t", "m", {ORIGINAL: mean_of(np.arange(30.0))}, 30, resamples=50)
    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3) != drawn(seed=4)


def test_resamples_without_a_value_do_not_count():
    values = np.arange(5.0)

    def spread(chosen):
        return float("nan") if np.ptp(values[chosen]) < 3 else float(np.ptp(values[chosen]))

    [figure] = figures("t", "m", {ORIGINAL: spread}, 5, resamples=200)
    assert 3 <= figure.score.low <= figure.score.high == 4


def test_of_one_example_there_is_no_interval():
    models = {ORIGINAL: mean_of(np.ones(1)), "other": mean_of(np.zeros(1))}
    original, other = figures("t", "m", models, 1)
    assert math.isnan(original.score.low)
    assert original.score.to_dict() == {"value": 1.0, "low": None, "high": None}
    assert other.verdict is None


def test_nothing_is_compared_where_the_metric_compares_already():
    models = {ORIGINAL: mean_of(np.ones(3)), "other": mean_of(np.ones(3))}
    assert [f.difference for f in figures("t", "m", models, 3, compare=False)] == [None, None]


def test_no_resamples():
    with pytest.raises(InputError, match="at least 1, got 0"):
        figures("t", "m", {ORIGINAL: mean_of(np.ones(3))}, 3, resamples=0)


@pytest.mark.parametrize(
    ("low", "high", "higher", "verdict"),
    [
        (0.1, 0.5, True, "better"),
        (0.1, 0.5, False, "worse"),
        (-0.5, -0.1, True, "worse"),
        (-0.5, -0.1, False, "better"),
        (-0.1, 0.5, True, "noise"),
        (0.0, 0.5, True, "noise"),
    ],
)
def test_verdicts(low, high, higher, verdict):
    score = Interval(1, 0, 2)
    change = Interval(low, low, high)
    figure = Figure("t", "m", "x", score, change, higher, 9)
    assert figure.verdict == figure.to_dict()["verdict"] == verdict


@pytest.mark.parametrize("classes", [2, 5])
def test_metrics_are_those_of_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    true = rng.integers(classes, size=200)
    predicted = np.where(rng.random(200) < 0.6, true, rng.integers(classes, size=200))
    found = metrics(true, predicted, classes)
    average = "binary" if classes == 2 else "macro"
    assert list(found) == ["accuracy", "F1" if classes == 2 else "macro F1", "Matthews"]
    for chosen in (np.arange(200), rng.integers(200, size=200), rng.integers(200, size=7)):
        a, b = true[chosen], predicted[chosen]
        wanted = [
            accuracy_score(a, b), f1_score(a, b, average=average), matthews_corrcoef(a, b)
        ]  # fmt: skip
        got = [metric(chosen) for metric in found.values()]
        np.testing.assert_allclose(got, 100 * np.array(wanted), rtol=1e-9, atol=1e-9)


def test_metrics_by_hand():
    found = metrics(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]), 2)
    got = {name: metric(np.arange(4)) for name, metric in found.items()}
    # One right of two positives, no false alarm: precision 1, recall 1/2.
    assert got == pytest.approx({"accuracy": 75, "F1": 200 / 3, "Matthews": 100 / math.sqrt(3)})


def test_metrics_where_one_label_is_all_there_is():
    found = metrics(np.zeros(3, int), np.zeros(3, int), 2)
    got = {name: metric(np.arange(3)) for name, metric in found.items()}
    assert got == {"accuracy": 100, "F1": 0, "Matthews": 0}


@pytest.fixture
def report():
    found = (
        Figure("pairs", "Spearman", ORIGINAL, Interval(85.2, 81.1, 88.4), None, True, 1500),
        Figure("pairs", "Spearman", "a rather long name", Interval(75.4, 71.3, 78.6),
               Interval(-9.8, -12.5, -7.1), True, 1500),
        Figure("text", "KL divergence", "a rather long name",
               Interval(0.01234, math.nan, math.nan), None, False, 40),
    )  # fmt: skip
    models = (Model(ORIGINAL, 90_330_570), Model("a rather long name", None))
    return EvaluationReport("feature-extraction", models, found, ("two of three were drawn",), 9, 1)


def shown(report, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render(report, width))
    return console.export_text()


def test_a_report_in_a_terminal(report):
    text = shown(report, 120)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "original 90.33 MB 85.20 81.10 … 88.40" in lines
    assert "a rather long name 75.40 71.30 … 78.60 -9.80 -12.50 … -7.10 worse" in lines
    assert "a rather long name 0.0123 unknown" in lines
    assert "KL divergence (n = 40, lower is better)" in text
    assert "note: two of three were drawn" in text


def test_a_narrow_terminal_folds_names_and_cuts_no_figure(report):
    text = shown(report, 80)
    assert "a rather long name 75" not in " ".join(text.split())
    assert "-12.50 … -7.10" in text
    assert "worse" in text


def test_json_has_no_infinity():
    assert Interval(math.inf, 1.0, math.nan).to_dict() == {"value": None, "low": 1.0, "high": None}


def test_a_report_as_json(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["schema"] == SCHEMA
    assert data["models"][0] == {"name": "original", "nbytes": 90_330_570}
    assert data["figures"][1]["difference"] == {"value": -9.8, "low": -12.5, "high": -7.1}
    assert data["figures"][2]["score"]["high"] is None
