"""What a tokenizer.json, and a text, say about the importance of rows."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from exporters.sources.prior import corpus_lines, importance_of, token_importance
from toolkit.errors import InputError


@pytest.fixture
def save(tmp_path):
    """``save(model, special=..., added=...)``: path of the tokenizer.json."""

    def write(model, *, special=(), added=()):
        tokenizer = Tokenizer(model)
        tokenizer.add_special_tokens(list(special))
        tokenizer.add_tokens(list(added))
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path / "tokenizer.json"

    return write


def word_piece(words):
    return models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")


def falls(weights):
    return bool((np.diff(weights) < 0).all())


WORDS = ["[PAD]", "[unused1]", "[unused2]", "[UNK]", "the", "of", "cat", "whisker"]


def test_wordpiece_stands_in_order_of_frequency(save):
    weights = token_importance(save(word_piece(WORDS), special=["[PAD]", "[UNK]"]), len(WORDS))
    assert weights.shape == (8,)
    assert falls(weights[4:])
    assert (weights > 0).all()


def test_special_tokens_come_first_and_unused_ones_last(save):
    weights = token_importance(save(word_piece(WORDS), special=["[PAD]", "[UNK]"]), len(WORDS))
    assert min(weights[0], weights[3]) > 10 * weights[4]
    assert weights[1] == weights[2] < weights[7] / 10


def test_unigram_goes_by_score_and_not_by_id(save):
    vocab = [("<s>", 0.0), ("rare", -9.0), ("often", -2.0), ("some", -5.0)]
    weights = token_importance(save(models.Unigram(vocab, unk_id=0), special=["<s>"]), 4)
    assert np.argsort(-weights).tolist() == [0, 2, 3, 1]


def test_tokens_added_to_a_unigram_count_as_its_rarest(save):
    vocab = [("<s>", 0.0), ("rare", -9.0), ("often", -2.0)]
    path = save(models.Unigram(vocab, unk_id=0), special=["<s>"], added=["late", "later"])
    assert np.argsort(-token_importance(path, 5)).tolist() == [0, 2, 1, 3, 4]


def test_byte_pairs_stand_in_order_of_their_merges(save):
    vocab = {token: i for i, token in enumerate(["a", "b", "c", "ab", "abc"])}
    weights = token_importance(save(models.BPE(vocab, [("a", "b"), ("ab", "c")])), 5)
    assert falls(weights)


def test_added_ordinary_tokens_follow_the_vocabulary(save):
    weights = token_importance(save(word_piece(WORDS), added=["brand"]), len(WORDS) + 1)
    assert weights[8] < weights[7]
    assert weights[8] > weights[1]


@pytest.mark.parametrize(
    "name",
    [
        "[unused7]",
        "<unused7>",
        "<|reserved_special_token_3|>",
        "<extra_id_7>",
        "madeupword0001",
        "<pad_4>",
        "<|placeholder1|>",
    ],
)
def test_reserved_names_are_coded_with_what_is_left(save, name):
    weights = token_importance(save(word_piece([name, "[UNK]", "cat"]), special=[name]), 3)
    assert 0 < weights[0] < weights[2] / 10


def test_rows_beyond_the_vocabulary_count_as_reserved(save):
    weights = token_importance(save(word_piece(WORDS)), len(WORDS) + 3)
    assert (weights[8:] == weights[1]).all()


def test_tokens_beyond_the_table_are_left_out(save):
    weights = token_importance(save(word_piece(WORDS), special=["[CLS]"]), 6)
    assert weights.shape == (6,)
    assert falls(weights[4:])


def test_hundreds_of_special_tokens_are_not_all_frequent(save):
    languages = [f"<lang{i}>" for i in range(100)]
    weights = token_importance(save(word_piece(WORDS), special=languages), len(WORDS) + 100)
    assert weights[8:].max() <= weights[:8].max()


def test_of_many_special_tokens_those_that_end_texts_are_frequent(save):
    languages = [f"<lang{i}>" for i in range(100)]
    path = save(word_piece(WORDS), special=languages)
    names = {"bos_token_id": 9, "eos_token_id": [10, 11], "pad_token_id": 12}
    (path.parent / "generation_config.json").write_text(json.dumps(names))
    (path.parent / "config.json").write_text(json.dumps({"decoder_start_token_id": 13}))
    weights = token_importance(path, len(WORDS) + 100)
    assert (weights[[9, 10, 11, 13]] == 50 * weights[8]).all()
    assert weights[12] == weights[8]


def test_importance_of_all_rows_is_finite_and_positive_for_any_kind(save):
    for path in (save(word_piece(WORDS)), save(models.WordLevel({"a": 0, "b": 1}, "a"))):
        weights = token_importance(path, 20)
        assert weights.dtype == np.float64
        assert np.isfinite(weights).all()
        assert (weights > 0).all()


def test_without_a_tokenizer_nothing_is_known(tmp_path):
    assert token_importance(None, 5) is None
    assert token_importance(tmp_path / "tokenizer.json", 5) is None


def test_a_vocabulary_of_reserved_names_says_nothing(save):
    assert token_importance(save(word_piece(["[unused0]", "[unused1]"])), 2) is None


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        "[]",
        "null",
        '"text"',
        '{"model": null}',
        '{"model": {"vocab": 3}}',
        '{"model": {"vocab": {"a": "x"}}}',
        '{"model": {"vocab": [["a"]]}}',
        '{"model": {"vocab": [["a", "b"]]}}',
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}',
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [7]}',
    ],
)
def test_a_damaged_tokenizer_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged .*; download") as error:
        token_importance(path, 5)
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_is_no_text_is_named_in_one_line(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged"):
        token_importance(path, 5)


def test_a_file_that_names_no_tokens_says_nothing(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    assert token_importance(path, 5) is None


def test_a_text_to_heal_on_ranks_what_it_has_and_flattens(save, tmp_path):
    tokenizer = save(word_piece(WORDS), special=["[PAD]", "[UNK]"])
    text = tmp_path / "text.txt"
    text.write_text("whisker\n" * 30 + "the\n" * 3)
    counted = importance_of(tokenizer, len(WORDS), text)
    healed = importance_of(tokenizer, len(WORDS), None, text)
    the, of, cat, whisker = 4, 5, 6, 7
    assert healed[whisker] > healed[the] > healed[of] > healed[cat] > 0
    assert healed[whisker] / healed[cat] < counted[whisker] / counted[cat]


def test_a_text_ends_at_a_line_feed_alone(save, tmp_path):
    tokenizer = save(models.WordLevel({"the": 0, "cat": 1, "?": 2}, unk_token="?"))
    text = tmp_path / "text.txt"
    text.write_bytes("\ufeffthe\r\ncat\ncat\rthe\n\r\n the\u2028cat \n".encode())
    assert [ids.tolist() for ids in corpus_lines(tokenizer, text)] == [[0], [1], [2], [2]]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"model": {"type": "WordLevel"}}',
        '{"model": {"type": "BPE", "vocab": {}, "merges": 3}}',
    ],
)
def test_a_damaged_tokenizer_of_a_corpus_is_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    (tmp_path / "text.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged .*; download") as error:
        list(corpus_lines(tmp_path / "tokenizer.json", tmp_path / "text.txt"))
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_panics_over_a_corpus_is_one_line(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    normalizer = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}
    told = {"version": "1.0", "normalizer": normalizer, "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    (tmp_path / "text.txt").write_text("a" * 60 + "!\n")
    with pytest.raises(InputError, match=r"cannot split .*text\.txt"):
        list(corpus_lines(tmp_path / "tokenizer.json", tmp_path / "text.txt"))
