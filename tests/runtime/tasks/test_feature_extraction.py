import numpy as np
import pytest

from runtime.tasks.feature_extraction import FeatureExtraction
from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.pooling import MODES, pool
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

TEXTS = ["red sea", "blue", "red green blue sea sky", "sky sea"]
IDS = [[2, 5, 8, 3], [2, 7, 3], [2, 5, 6, 7, 8, 9, 3], [2, 9, 8, 3]]


def expected(table, pooling):
    make = {
        "mean": lambda x: x.mean(0),
        "max": lambda x: x.max(0),
        "cls": lambda x: x[0],
        "mean_sqrt_len": lambda x: x.sum(0) / np.sqrt(len(x)),
        "weightedmean": lambda x: np.average(x, axis=0, weights=np.arange(1, len(x) + 1)),
        "lasttoken": lambda x: x[-1],
    }
    vectors = np.stack(
        [
            np.concatenate([make[mode](table[ids]) for mode in pooling.mode.split("+")])
            for ids in IDS
        ]
    )
    if pooling.normalize:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@pytest.mark.parametrize("mode", [*MODES, "cls+mean", "max+weightedmean+lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_of_the_manifest(tmp_path, tiny, mode, normalize):
    pooling = Pooling(mode, normalize)
    # Negative columns, so that a maximum over zeros instead of tokens shows.
    values = tiny.table() - np.array([0, 0, 0, 50], np.float32)
    pipeline = open_pipeline(tiny.bundle(tmp_path / "b", values=values, pooling=pooling))
    assert isinstance(pipeline, FeatureExtraction)
    vectors = pipeline(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(values, pooling), rtol=1e-5, atol=1e-6)


def test_without_pooling_the_mean_is_taken(tmp_path, tiny):
    pipeline = open_pipeline(tiny.bundle(tmp_path / "b", pooling=None))
    np.testing.assert_allclose(
        pipeline(TEXTS), expected(tiny.table(), Pooling()), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_neither_batching_nor_padding_changes_a_vector(bundle, batch_size):
    pipeline = open_pipeline(bundle)
    alone = np.concatenate([pipeline([text]) for text in TEXTS])
    np.testing.assert_allclose(pipeline(TEXTS, batch_size), alone, rtol=1e-6)


def test_pooled_output_is_taken_at_its_word(tmp_path, tiny):
    folder = tiny.bundle(
        tmp_path / "b", graph=tiny.graphs["text-classification"], pooling=Pooling("mean", True)
    )
    sums = np.stack([tiny.table()[ids].sum(0) for ids in IDS])
    unit = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(open_pipeline(folder)(TEXTS), unit, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch", "length"), [("2", "6"), ("1", "6"), ("b", "6")])
def test_graph_of_fixed_shape(tmp_path, tiny, batch, length):
    graph = tiny.graphs["feature-extraction"].replace("[b,s", f"[{batch},{length}")
    folder = tiny.bundle(tmp_path / "b", graph=graph)
    cut = [ids if len(ids) <= 6 else [*ids[:5], 3] for ids in IDS]
    want = np.stack([tiny.table()[ids].mean(0) for ids in cut])
    np.testing.assert_allclose(open_pipeline(folder)(TEXTS[:3]), want[:3], rtol=1e-5, atol=1e-6)


def test_further_inputs_are_fed(tmp_path, tiny):
    graph = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] tokens, int64[b,s] token_type_ids, int64[b,s] position_ids)
          => (float[b,s,4] last_hidden_state)
        {
          both = Add(position_ids, token_type_ids)
          last = Constant<value_ints = [-1]>()
          wide = Unsqueeze(both, last)
          shift = Cast<to = 1>(wide)
          rows = Gather(table, tokens)
          last_hidden_state = Add(rows, shift)
        }"""
    folder = tiny.bundle(tmp_path / "b", graph=graph, ids_input="tokens")
    got = open_pipeline(folder)([("red", "sea"), ("blue", "sky")])
    shift = np.array([0, 1, 2, 3 + 1, 4 + 1]).mean()
    want = [tiny.table()[ids].mean(0) + shift for ids in ([2, 5, 3, 8, 3], [2, 7, 3, 9, 3])]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_no_texts(bundle):
    assert open_pipeline(bundle)([]).shape == (0, 4)


def test_progress_ends_at_one(bundle):
    seen = []
    open_pipeline(bundle)(TEXTS, 3, progress=lambda share, what: seen.append((share, what)))
    assert [share for share, _ in seen] == [0.75, 1.0]
    assert all(what for _, what in seen)


def test_a_single_string_is_no_list(bundle):
    with pytest.raises(InputError, match="single string"):
        open_pipeline(bundle)("red sea")


def test_bad_batch_size(bundle):
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        open_pipeline(bundle)(TEXTS, 0)


def test_unknown_pooling(tmp_path, tiny):
    folder = tiny.bundle(tmp_path / "b", pooling=Pooling("median", False))
    with pytest.raises(InputError, match="'median' is unknown; use cls, max, mean"):
        open_pipeline(folder)


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_a_text_without_tokens_gives_zeros_even_from_nan(mode):
    states = np.full((2, 3, 4), np.nan, np.float32)
    states[1, 0] = [1, 2, 3, 4]
    mask = np.array([[0, 0, 0], [1, 0, 0]])
    pooled = pool(states, mask, Pooling(mode, False))
    np.testing.assert_array_equal(pooled, [[0, 0, 0, 0], [1, 2, 3, 4]])


def test_normalising_zeros_divides_by_nothing():
    pooled = pool(np.zeros((1, 2, 3), np.float32), np.ones((1, 2), int), Pooling("mean", True))
    np.testing.assert_array_equal(pooled, np.zeros((1, 3)))
