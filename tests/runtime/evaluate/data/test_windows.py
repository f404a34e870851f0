"""Texts cut into windows of tokens, for language models and for questions."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from runtime.evaluate.data.windows import LONGEST, text_windows
from runtime.tasks.tokenize import Tokens, open_tokenizer
from toolkit.errors import InputError

TEXT = "red green blue sea sky red green blue sea sky red"


@pytest.fixture
def subject(bundle, tiny):
    """``subject(max_length)``: what windows ask of a model."""

    def build(max_length, shape=("b", "s"), name="original"):
        session = SimpleNamespace(inputs=[SimpleNamespace(name="input_ids", shape=shape)])
        tokenizer = replace(open_tokenizer(bundle), max_length=max_length)
        return SimpleNamespace(name=name, session=session, tokenizer=tokenizer)

    return build


def test_every_token_once_in_order_with_special_tokens_around(subject):
    windows = text_windows([subject(6)], TEXT)
    assert [window.ids for window in windows] == [
        (2, 5, 6, 7, 8, 3),
        (2, 9, 5, 6, 7, 3),
        (2, 8, 9, 5, 3),
    ]
    assert windows[2].texts == (None, 0, 0, 0, None)
    assert [TEXT[a:b] for a, b in windows[1].offsets[1:-1]] == ["sky", "red", "green", "blue"]
    assert windows[2].types == (0,) * 5


@pytest.mark.parametrize(
    ("limit", "ids"),
    [
        (1, [(2, 5, 3)]),
        (4, [(2, 5, 6, 7, 8, 3)]),
        (6, [(2, 5, 6, 7, 8, 3), (2, 9, 5, 3)]),
        (99, [(2, 5, 6, 7, 8, 3), (2, 9, 5, 6, 7, 3), (2, 8, 9, 5, 3)]),
    ],
)
def test_limit_counts_the_texts_tokens(subject, limit, ids):
    assert [window.ids for window in text_windows([subject(6)], TEXT, limit)] == ids


def test_the_shortest_limit_holds_for_all(subject):
    fixed = subject(7, (1, 5), "other")
    assert {len(w) for w in text_windows([subject(6), fixed], TEXT)[:-1]} == {5}
    assert text_windows([subject(6), fixed], TEXT) == text_windows([subject(5)], TEXT)


def test_no_limit_at_all(subject):
    windows = text_windows([subject(None)], "red " * 1000)
    assert [len(window) for window in windows] == [LONGEST, 492]


def test_other_tokens(subject, tmp_path, tiny):
    tiny.tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"sky": 9', '"sky": 1'))
    other = replace(open_tokenizer(tmp_path), max_length=6)
    other = SimpleNamespace(name="int8", session=subject(6).session, tokenizer=other)
    with pytest.raises(InputError, match="int8 and original read the text as different tokens"):
        text_windows([subject(6), other], TEXT)
    text_windows([subject(6), other], "red sea")


@pytest.mark.parametrize(
    ("text", "length", "limit", "message"),
    [
        ("", 6, None, "has no tokens"),
        (" \n ", 6, None, "has no tokens"),
        ("red", 2, None, "window of 2 tokens has no room beside 2 special"),
        ("red", 6, 0, "limit_tokens must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_cut(subject, text, length, limit, message):
    with pytest.raises(InputError, match=message) as info:
        text_windows([subject(length)], text, limit)
    assert "\n" not in str(info.value)


def test_only_the_second_text_of_a_pair_is_cut(bundle):
    tokenizer = open_tokenizer(bundle, max_length=8)
    pair = ("red sea", "green blue sea sky red")
    windows = tokenizer.windows(pair, overlap=1)
    assert [window.ids for window in windows] == [
        (2, 5, 8, 3, 6, 7, 8, 3),
        (2, 5, 8, 3, 8, 9, 5, 3),
    ]
    assert windows[1].texts == (None, 0, 0, None, 1, 1, 1, None)
    assert windows[1].types == (0, 0, 0, 0, 1, 1, 1, 1)
    assert [pair[1][a:b] for a, b in windows[1].offsets[4:7]] == ["sea", "sky", "red"]


def test_the_first_text_stays_whole_where_it_is_the_longer_one(bundle):
    tokenizer = open_tokenizer(bundle, max_length=8)
    windows = tokenizer.windows(("red green blue sea", "sky red"))
    assert [window.ids for window in windows] == [
        (2, 5, 6, 7, 8, 3, 9, 3),
        (2, 5, 6, 7, 8, 3, 5, 3),
    ]


def test_overlap_beyond_half_the_room_is_half_of_it(bundle):
    tokenizer = open_tokenizer(bundle, max_length=6)
    assert tokenizer.windows(TEXT, overlap=99) == tokenizer.windows(TEXT, overlap=2)
    assert [w.ids[1:-1] for w in tokenizer.windows(TEXT, overlap=99)][:2] == [
        (5, 6, 7, 8),
        (7, 8, 9, 5),
    ]
    # One token's room leaves none to share.
    assert len(replace(tokenizer, max_length=3).windows(TEXT, overlap=99)) == 11


def test_a_first_text_that_fills_the_window(bundle):
    tokenizer = open_tokenizer(bundle, max_length=8)
    with pytest.raises(InputError, match="no room beside 3 special tokens and the 5 of 'red red"):
        tokenizer.windows(("red red red red red", "sea"))


def test_no_limit_gives_one_window(tmp_path, tiny):
    tiny.tokenizer(tmp_path)
    (window,) = open_tokenizer(tmp_path).windows(TEXT)
    assert len(window) == 13


def test_splitting_is_as_before_after_windows(bundle):
    tokenizer = open_tokenizer(bundle, max_length=8)
    before = tokenizer.split([TEXT, ("red sea sky", TEXT)])
    tokenizer.windows(("red", TEXT), overlap=2)
    assert tokenizer.split([TEXT, ("red sea sky", TEXT)]) == before
    assert before[0] == Tokens((2, 5, 6, 7, 8, 9, 5, 3), (0,) * 8)


@pytest.mark.parametrize("text", [3, ("red", 3)])
def test_a_text_that_is_none(bundle, text):
    with pytest.raises(InputError, match="give a string"):
        open_tokenizer(bundle).windows(text)


def test_tokenizer_of_other_files(tmp_path, tiny):
    (tmp_path / "vocab.txt").write_text("\n".join(tiny.words))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    windows = open_tokenizer(tmp_path, max_length=4).windows("red green blue")
    assert [window.ids for window in windows] == [(2, 5, 6, 3), (2, 7, 3)]
