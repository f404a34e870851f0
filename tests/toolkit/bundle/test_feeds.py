import numpy as np
import pytest

from toolkit.bundle.feeds import build_feeds, draw_ids, free_dimensions, lay_out, text_shape
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError

IDS = np.array([[5, 6, 7], [8, 9, 4]])


@pytest.mark.parametrize("rows", [2, 10, 30522])
def test_drawn_ids_are_valid_and_reproducible(rows):
    ids = draw_ids(np.random.default_rng(1), 20, 50, rows)
    assert ids.shape == (20, 50)
    assert ids.min() >= 1
    assert ids.max() < rows
    np.testing.assert_array_equal(ids, draw_ids(np.random.default_rng(1), 20, 50, rows))


def test_drawn_ids_fall_off_and_reach_far():
    ids = draw_ids(np.random.default_rng(1), 1, 20_000, 30_000)
    # id k as often as 1 / k: each decade of ids holds about the same share.
    shares = np.histogram(ids, [1, 10, 100, 1000, 10_000])[0] / ids.size
    assert np.ptp(shares) < 0.03
    assert ids.max() > 29_000


def test_unknown_vocabulary_stays_low():
    assert draw_ids(np.random.default_rng(1), 1, 5000, None).max() < 1000


def test_a_table_of_one_row():
    assert draw_ids(np.random.default_rng(1), 1, 5, 1).tolist() == [[0] * 5]


def test_text_inputs_take_their_declared_types():
    inputs = [
        TensorInfo("tokens", "int32", ("b", "s")),
        TensorInfo("attention_mask", "float32", ("b", None)),
        TensorInfo("token_type_ids", "int64", ("b", "s")),
        TensorInfo("position_ids", "int64", (1, "s")),
        TensorInfo("use_cache_branch", "bool", (1,)),
    ]
    feeds = build_feeds(inputs, "tokens", IDS)
    np.testing.assert_array_equal(feeds["tokens"], IDS)
    assert feeds["tokens"].dtype == np.int32
    np.testing.assert_array_equal(feeds["attention_mask"], np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(feeds["token_type_ids"], np.zeros((2, 3)))
    np.testing.assert_array_equal(feeds["position_ids"], [[0, 1, 2]])
    assert feeds["use_cache_branch"].tolist() == [False]


def test_caches_are_empty():
    inputs = [
        TensorInfo("input_ids", "int64", ("batch", "sequence")),
        TensorInfo("attention_mask", "int64", ("batch", "past_sequence_length + 1")),
        TensorInfo("past_key_values.0.key", "float16", ("batch", 4, "past_sequence_length", 16)),
        TensorInfo("past_key_values.0.value", "float32", ("batch", 4, "dim_7", 16)),
    ]
    feeds = build_feeds(inputs, "input_ids", IDS)
    assert feeds["attention_mask"].shape == (2, 3)
    assert feeds["past_key_values.0.key"].shape == (2, 4, 0, 16)
    assert feeds["past_key_values.0.value"].shape == (2, 4, 0, 16)
    assert feeds["past_key_values.0.key"].dtype == np.float16


def test_an_encoder_decoder_gets_ids_for_both():
    inputs = [
        TensorInfo("input_ids", "int64", ("batch", "sequence")),
        TensorInfo("decoder_input_ids", "int32", ("batch", "decoder_sequence")),
    ]
    feeds = build_feeds(inputs, "input_ids", IDS, IDS[::-1])
    np.testing.assert_array_equal(feeds["input_ids"], IDS)
    np.testing.assert_array_equal(feeds["decoder_input_ids"], IDS[::-1])
    assert feeds["decoder_input_ids"].dtype == np.int32
    assert not build_feeds(inputs, "input_ids", IDS)["decoder_input_ids"].any()


def test_what_an_encoder_gave_is_as_long_as_its_mask():
    cache = ("batch", 4, "encoder_sequence_length", 16)
    past = ("batch", 4, "past_decoder_sequence_length", 16)
    inputs = [
        TensorInfo("input_ids", "int64", ("batch", "decoder_sequence_length")),
        TensorInfo("encoder_attention_mask", "int64", ("batch", "encoder_sequence_length")),
        TensorInfo("encoder_hidden_states", "float32", ("batch", "encoder_sequence_length", 8)),
        TensorInfo("past_key_values.0.encoder.key", "float32", cache),
        TensorInfo("past_key_values.0.decoder.key", "float32", past),
    ]
    feeds = build_feeds(inputs, "input_ids", IDS)
    np.testing.assert_array_equal(feeds["encoder_attention_mask"], np.ones((2, 3)))
    assert feeds["encoder_hidden_states"].shape == (2, 3, 8)
    assert feeds["past_key_values.0.encoder.key"].shape == (2, 4, 3, 16)
    assert feeds["past_key_values.0.decoder.key"].shape == (2, 4, 0, 16)


def test_fixed_length_is_said():
    with pytest.raises(InputError, match="exactly 128 tokens, asked for 3; use 128"):
        build_feeds([TensorInfo("input_ids", "int64", ("b", 128))], "input_ids", IDS)


def test_fixed_batch_is_said():
    with pytest.raises(InputError, match="exactly 1 texts, asked for 2"):
        build_feeds([TensorInfo("input_ids", "int64", (1, "s"))], "input_ids", IDS)


def test_type_without_a_numpy_equivalent():
    inputs = [TensorInfo("state", "bfloat16", (1, 4))]
    with pytest.raises(InputError, match="'state' has type bfloat16"):
        build_feeds(inputs, None, IDS)


FLAT = [
    TensorInfo("tokens", "int64", ("num_tokens",)),
    TensorInfo("offsets", "int32", ("texts",)),
    TensorInfo("weights", "float32", ("num_tokens",)),
    TensorInfo("attention_mask", "int64", (None,)),
]


def test_flat_ids_have_offsets_where_each_text_starts():
    feeds = build_feeds(FLAT, "tokens", IDS)
    np.testing.assert_array_equal(feeds["tokens"], [5, 6, 7, 8, 9, 4])
    np.testing.assert_array_equal(feeds["offsets"], [0, 3])
    assert feeds["offsets"].dtype == np.int32
    assert feeds["weights"].shape == feeds["attention_mask"].shape == (6,)
    assert free_dimensions(FLAT, 2, 3, "tokens") == {"num_tokens": 6, "texts": 2}


@pytest.mark.parametrize("texts", [1, 2, 4, 6])
def test_offsets_of_a_fixed_number_are_valid(texts):
    inputs = [FLAT[0], TensorInfo("text_offsets", "int64", (texts,))]
    offsets = build_feeds(inputs, "tokens", IDS)["text_offsets"]
    assert offsets.shape == (texts,)
    assert offsets[0] == 0
    assert (np.diff(offsets) > 0).all()
    assert offsets[-1] < IDS.size


def test_offsets_beside_ids_of_texts_are_zeros():
    inputs = [TensorInfo("input_ids", "int64", ("b", "s")), TensorInfo("offsets", "int64", ("b",))]
    assert build_feeds(inputs, "input_ids", IDS)["offsets"].tolist() == [0, 0]


@pytest.mark.parametrize(("choices", "count"), [("choices", 2), (None, 2), (4, 4)])
def test_each_text_comes_once_for_each_choice(choices, count):
    shape = ("batch", choices, "sequence")
    inputs = [
        TensorInfo("input_ids", "int64", shape),
        TensorInfo("attention_mask", "int64", shape),
        TensorInfo("token_type_ids", "int64", (None, None, None)),
        TensorInfo("labels", "int64", ("batch",)),
    ]
    feeds = build_feeds(inputs, "input_ids", IDS)
    np.testing.assert_array_equal(feeds["input_ids"][:, 0], IDS)
    np.testing.assert_array_equal(feeds["input_ids"][:, 1], [[7, 5, 6], [4, 8, 9]])
    assert feeds["input_ids"].shape == (2, count, 3)
    assert feeds["attention_mask"].shape == feeds["token_type_ids"].shape == (2, count, 3)
    assert feeds["attention_mask"].all()
    assert feeds["labels"].shape == (2,)


def test_the_graph_says_how_many_ids_it_takes():
    assert text_shape(TensorInfo("i", "int64", ("b", "s")), (3, 7)) == (3, 7)
    assert text_shape(TensorInfo("i", "int64", (2, 8)), (3, 7)) == (2, 8)
    assert text_shape(TensorInfo("i", "int64", ("n",)), (3, 7)) == (3, 7)
    assert text_shape(TensorInfo("i", "int64", (9,)), (3, 7)) == (1, 9)
    assert text_shape(TensorInfo("i", "int64", ("b", 4, 8)), (3, 7)) == (3, 8)
    with pytest.raises(InputError, match="'i' is a single number"):
        text_shape(TensorInfo("i", "int64", ()), (3, 7))


def test_other_sizes_than_the_graphs_are_refused():
    with pytest.raises(InputError, match="exactly 9 tokens, asked for 6"):
        lay_out(TensorInfo("i", "int64", (9,)), IDS)
    with pytest.raises(InputError, match="exactly 3 texts, asked for 2"):
        lay_out(TensorInfo("i", "int64", (3, 2, "s")), IDS)
