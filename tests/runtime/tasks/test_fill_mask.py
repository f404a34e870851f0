import numpy as np
import pytest

from runtime.tasks.pipeline import open_pipeline
from toolkit.errors import InputError


@pytest.fixture
def pipeline(tmp_path, tiny):
    # Row i holds the logits after token i; those of [MASK] favour sea, then blue.
    logits = np.zeros((10, 10), np.float32)
    logits[:, 5] = 9.0
    logits[4] = np.log([1, 1, 1, 1, 1, 1, 1, 4, 8, 1])
    return open_pipeline(tiny.bundle(tmp_path / "b", "fill-mask", logits))


def test_best_tokens_with_their_probabilities(pipeline):
    (masks,) = pipeline(["the [MASK] sky"], top_k=3)
    (fill,) = masks
    assert fill.position == 2
    assert [(c.token, c.id) for c in fill.candidates[:2]] == [("sea", 8), ("blue", 7)]
    np.testing.assert_allclose([c.score for c in fill.candidates], [0.4, 0.2, 0.05], rtol=1e-6)


def test_each_mask_in_order_and_texts_in_order(pipeline):
    results = pipeline(["[MASK]", "red [MASK] green [MASK]"], batch_size=1)
    assert [[fill.position for fill in masks] for masks in results] == [[1], [2, 4]]
    assert all(len(fill.candidates) == 5 for masks in results for fill in masks)


def test_top_k_beyond_the_vocabulary_gives_all(pipeline):
    (masks,) = pipeline(["[MASK]"], top_k=99)
    assert sum(c.score for c in masks[0].candidates) == pytest.approx(1.0)
    assert len(masks[0].candidates) == 10


def test_mask_in_the_second_text_of_a_pair(pipeline):
    (masks,) = pipeline([("red", "blue [MASK]")])
    assert [fill.position for fill in masks] == [4]


def test_text_without_a_mask_shows_the_token(pipeline):
    with pytest.raises(InputError, match=r"'the sky' has no mask; put \[MASK\]") as info:
        pipeline(["[MASK]", "the sky"])
    assert "\n" not in str(info.value)


def test_mask_beyond_the_limit(pipeline):
    with pytest.raises(InputError, match="beyond the 8 tokens"):
        pipeline(["[MASK] " + "red " * 6 + "[MASK]"])


def test_bad_top_k(pipeline):
    with pytest.raises(InputError, match="top_k must be at least 1, got 0"):
        pipeline(["[MASK]"], top_k=0)


def test_tokenizer_without_a_mask(tmp_path, tiny):
    folder = tiny.bundle(tmp_path / "b", "fill-mask", tiny.table(10))
    (folder / "special_tokens_map.json").write_text("{}")
    with pytest.raises(InputError, match="no mask token"):
        open_pipeline(folder, verify=False)


def test_graph_without_logits(tmp_path, tiny):
    folder = tiny.bundle(tmp_path / "b", "fill-mask", graph=tiny.graphs["text-classification"])
    with pytest.raises(InputError, match=r"no output of rank 3 for fill-mask \(it gives logits"):
        open_pipeline(folder)
