import numpy as np
import pytest
from tokenizers import Tokenizer

from exporters.vocabulary.choose import TEXT, Wanted, choose_tokens, tokenizer_text
from exporters.vocabulary.parts import with_fewer
from exporters.vocabulary.words import words_of
from tests.exporters.vocabulary.conftest import KINDS
from toolkit.errors import InputError

ENGLISH = Wanted(("en",))


def opened(choice):
    return Tokenizer.from_str(tokenizer_text(choice.data))


@pytest.mark.parametrize("kind", KINDS)
def test_text_of_the_language_is_split_as_before(saved, tokenizers, kind):
    choice = choose_tokens(saved(kind), ENGLISH)
    before, after = tokenizers[kind], opened(choice)
    assert len(choice.kept) < 0.95 * before.get_vocab_size()
    assert after.get_vocab_size() == len(choice.kept)
    lines = [
        f"{a} {b.capitalize()}, {c}."
        for a, b, c in zip(*[iter(words_of("en").words[:3000])] * 3, strict=True)
    ]
    for old, new in zip(before.encode_batch(lines), after.encode_batch(lines), strict=True):
        assert choice.kept[new.ids].tolist() == old.ids
        assert new.tokens == old.tokens


@pytest.mark.parametrize("kind", KINDS)
def test_text_of_another_language_becomes_something(saved, kind):
    choice = choose_tokens(saved(kind), ENGLISH)
    for text in ("Straßenbahnhaltestelle Frühstück", "東京 へ", "привет 👋 мир", ""):
        ids = opened(choice).encode(text).ids
        assert (ids[0], ids[-1]) == (1, 2)
        assert max(ids) < len(choice.kept)


def test_every_byte_stays(saved):
    choice = choose_tokens(saved("byte_level"), ENGLISH)
    tokenizer = opened(choice)
    text = "Straße 東京 \x00 👋"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_two_languages_keep_more_than_one_and_less_than_both_alone(saved, kind):
    folder = saved(kind)
    both = choose_tokens(folder, Wanted(("de", "en")))
    german, english = (choose_tokens(folder, Wanted((each,))) for each in ("de", "en"))
    assert max(len(german.kept), len(english.kept)) < len(both.kept)
    assert set(german.kept) | set(english.kept) == set(both.kept)
    assert set(both.by_language) == {"de", "en"}
    assert both.importance.sum() == pytest.approx(1)
    assert np.all(both.importance >= 0)


def test_what_stays_is_what_a_text_has(saved, tmp_path, tokenizers):
    text = tmp_path / "text.txt"
    text.write_text("guten Morgen\nschöne Grüße\n" * 3, encoding="utf-8")
    choice = choose_tokens(saved("unigram"), Wanted(text=text))
    before, after = tokenizers["unigram"], opened(choice)
    line = "guten Morgen Grüße"
    assert choice.kept[after.encode(line).ids].tolist() == before.encode(line).ids
    assert len(choice.kept) < 400
    assert set(choice.by_language) == {TEXT}


def test_ids_keep_their_order_and_others_stay_when_asked(saved):
    wanted = Wanted(("en",), also=frozenset({2999, 2500}))
    choice = choose_tokens(saved("wordpiece"), wanted)
    assert {2999, 2500, 0, 1, 2, 3} <= set(choice.kept.tolist())
    assert np.all(np.diff(choice.kept) > 0)


def test_rows_in_reserve_go_where_they_are_many(saved):
    def reserve(data):
        first = len(data["model"]["vocab"])
        data["added_tokens"] += [
            {"id": first + n, "content": f"<unused{n}>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for n in range(300)
        ]  # fmt: skip

    choice = choose_tokens(saved("unigram", change=reserve), ENGLISH)
    assert not any("unused" in each["content"] for each in choice.data["added_tokens"])
    assert len(choice.data["added_tokens"]) == 4


def test_a_language_without_a_list_is_refused(saved):
    with pytest.raises(
        InputError, match=r"no list of words for 'xx'; choose from ar, .*--vocabulary"
    ):
        choose_tokens(saved("unigram"), Wanted(("xx",)))


def test_a_folder_without_tokenizer_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no tokenizer.json"):
        choose_tokens(tmp_path, ENGLISH)


def test_a_kind_that_is_not_known_is_refused(saved):
    folder = saved("unigram", change=lambda data: data["model"].update(type="Other"))
    with pytest.raises(InputError, match="of the kind 'Other' cannot be cut"):
        choose_tokens(folder, ENGLISH)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("model"),
        lambda data: data["model"].update(vocab=3),
        lambda data: data["model"].update(vocab=[["a"]]),
        lambda data: data["model"].update(vocab=[[3, 0.0]]),
        lambda data: data["model"].update(vocab={"a": 1 << 60}),
        lambda data: data["model"].update(vocab={"a": -1}),
        lambda data: data["model"].update(vocab={"a": "b"}),
        lambda data: data["model"].update(vocab={"a": 1}, merges=[["a", 3]]),
        lambda data: data["model"].update(vocab={"a": 1}, merges=[["a"]]),
        lambda data: data["model"].update(merges=[["a", "b"]]),
        lambda data: data.update(added_tokens=[{"content": "x"}]),
        lambda data: data.update(post_processor={"type": "TemplateProcessing", "ids": ["x"]}),
    ],
)
def test_a_damaged_file_is_one_line(saved, damage):
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged"):
        choose_tokens(saved("unigram", change=damage), ENGLISH)


def test_a_tokenizer_that_would_split_otherwise_is_refused(saved, monkeypatch):
    def in_another_order(data, kept):
        found = with_fewer(data, kept)
        found["model"]["merges"].reverse()
        return found

    monkeypatch.setattr("exporters.vocabulary.choose.with_fewer", in_another_order)
    with pytest.raises(InputError, match=r"splits .* of the words of 'en' in another way"):
        choose_tokens(saved("bpe"), ENGLISH)


def test_all_are_the_languages_that_have_a_list(saved, monkeypatch):
    monkeypatch.setattr("exporters.vocabulary.words._with_lists", lambda: ("en", "nl"))
    choice = choose_tokens(saved("unigram"), Wanted(("all",)))
    assert set(choice.by_language) == {"en", "nl"}
