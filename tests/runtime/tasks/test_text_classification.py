import numpy as np
import pytest

from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.text_classification import sigmoid, softmax
from toolkit.errors import FormatError, InputError

TASK = "text-classification"


def votes(columns):
    """Rows of votes: red speaks for label 0, sea for label 1, all else for none."""
    values = np.zeros((10, columns), np.float32)
    values[0] = 1e6
    values[5, 0] = 1.0
    values[8, 1 % columns] += 2.0
    return values


def classify(tmp_path, tiny, columns, config, texts, **options):
    folder = tiny.bundle(tmp_path / "b", TASK, votes(columns), config=config)
    return open_pipeline(folder)(texts, **options)


def test_softmax_over_named_labels(tmp_path, tiny):
    config = {"id2label": {"0": "warm", "1": "cold"}}
    red, both, sea = classify(
        tmp_path, tiny, 2, config, ["red", "red sea blue", "sea"], batch_size=2
    )
    assert [r.label for r in (red, both, sea)] == ["warm", "cold", "cold"]
    assert red.score == pytest.approx(1 / (1 + np.exp(-1)))
    assert both.score == pytest.approx(1 / (1 + np.exp(-1)))
    assert sea.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert [s.label for s in red.scores] == ["warm", "cold"]
    assert sum(s.score for s in red.scores) == pytest.approx(1.0)


def test_many_labels_each_for_itself(tmp_path, tiny):
    config = {"problem_type": "multi_label_classification"}
    (result,) = classify(tmp_path, tiny, 3, config, ["red sea"])
    assert [s.label for s in result.scores] == ["LABEL_1", "LABEL_0", "LABEL_2"]
    want = [1 / (1 + np.exp(-x)) for x in (2, 1, 0)]
    np.testing.assert_allclose([s.score for s in result.scores], want)


def test_one_label_is_a_sigmoid(tmp_path, tiny):
    (result,) = classify(tmp_path, tiny, 1, {}, ["red"])
    assert result.score == pytest.approx(1 / (1 + np.exp(-1)))


def test_regression_is_left_as_it_is(tmp_path, tiny):
    (result,) = classify(tmp_path, tiny, 1, {"problem_type": "regression"}, ["red sea"])
    assert result.score == pytest.approx(3.0)


def test_damaged_labels(tmp_path, tiny):
    with pytest.raises(FormatError, match="id2label"):
        classify(tmp_path, tiny, 2, {"id2label": {"first": "warm"}}, ["red"])


def test_a_single_string_is_no_list(tmp_path, tiny):
    with pytest.raises(InputError, match="single string"):
        classify(tmp_path, tiny, 2, {}, "red")


def test_scores_of_extreme_logits():
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0, 1e4])), [0, 0.5, 1])
        np.testing.assert_allclose(softmax(np.array([1e4, 0, -1e4])), [1, 0, 0])
