import json

import numpy as np
import pytest

from runtime.tasks.tokenize import open_tokenizer
from toolkit.errors import FormatError, InputError

TEXTS = ["red sea", "blue", "red green blue sea sky red green blue sea"]


def test_right_padded_to_the_longest_and_cut_to_the_manifest(bundle):
    encoded = open_tokenizer(bundle).encode(TEXTS)
    assert encoded["input_ids"].tolist() == [
        [2, 5, 8, 3, 0, 0, 0, 0],
        [2, 7, 3, 0, 0, 0, 0, 0],
        [2, 5, 6, 7, 8, 9, 5, 3],
    ]
    assert encoded["attention_mask"].sum(axis=1).tolist() == [4, 3, 8]
    assert encoded["attention_mask"][1].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert not encoded["token_type_ids"].any()
    assert {array.dtype for array in encoded.values()} == {np.dtype(np.int64)}


def test_explicit_limit_wins(bundle):
    assert open_tokenizer(bundle, max_length=4).encode(TEXTS)["input_ids"].shape == (3, 4)


def test_no_limit_without_a_manifest(tmp_path, tiny):
    tiny.tokenizer(tmp_path)
    assert open_tokenizer(tmp_path).encode(TEXTS)["input_ids"].shape == (3, 11)


def test_pair_types(bundle):
    encoded = open_tokenizer(bundle).encode([("red", "sea sky")])
    assert encoded["input_ids"].tolist() == [[2, 5, 3, 8, 9, 3]]
    assert encoded["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]


def test_pad_id_from_config(tmp_path, tiny):
    tiny.tokenizer(tmp_path)
    (tmp_path / "special_tokens_map.json").unlink()
    (tmp_path / "config.json").write_text('{"pad_token_id": 7}')
    assert open_tokenizer(tmp_path).pad_id == 7
    (tmp_path / "config.json").unlink()
    assert open_tokenizer(tmp_path).pad_id == 0


def test_pad_token_from_tokenizer_config(tmp_path, tiny):
    tiny.tokenizer(tmp_path)
    (tmp_path / "special_tokens_map.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "sky"}')
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.pad_id == 9
    assert tokenizer.encode(["red sea", ""])["input_ids"][1].tolist() == [2, 3, 9, 9]


def test_mask_token_may_be_an_object(bundle):
    tokenizer = open_tokenizer(bundle)
    assert (tokenizer.mask_token, tokenizer.mask_id) == ("[MASK]", 4)


def test_no_texts(bundle):
    assert open_tokenizer(bundle).encode([])["input_ids"].shape == (0, 1)


@pytest.mark.parametrize("texts", [[3], [None]])
def test_texts_that_are_none(bundle, texts):
    with pytest.raises(InputError, match="give strings"):
        open_tokenizer(bundle).encode(texts)


@pytest.mark.parametrize("limit", [0, -1])
def test_bad_limit(bundle, limit):
    with pytest.raises(InputError, match=f"at least 1, got {limit}"):
        open_tokenizer(bundle, max_length=limit)


def test_limit_below_the_special_tokens(bundle):
    with pytest.raises(InputError, match="max_length"):
        open_tokenizer(bundle, max_length=1).encode(["red"])


def test_damaged_files(bundle):
    (bundle / "special_tokens_map.json").write_text("[]")
    with pytest.raises(FormatError, match=r"special_tokens_map\.json"):
        open_tokenizer(bundle)
    (bundle / "tokenizer.json").write_text("{")
    with pytest.raises(FormatError, match=r"tokenizer\.json is damaged"):
        open_tokenizer(bundle)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        open_tokenizer(tmp_path / "none")


def test_other_tokenizer_files_go_through_transformers(tmp_path, tiny):
    (tmp_path / "vocab.txt").write_text("\n".join(tiny.words))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]"})
    )
    tokenizer = open_tokenizer(tmp_path, max_length=5)
    encoded = tokenizer.encode(["Red sea", "red green blue sea sky", "[MASK]"])
    assert encoded["input_ids"].tolist() == [[2, 5, 8, 3, 0], [2, 5, 6, 7, 3], [2, 4, 3, 0, 0]]
    assert encoded["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5, [1, 1, 1, 0, 0]]
    assert tokenizer.mask_id == 4
    assert tokenizer.backend.text_of(8) == "sea"
    pair = tokenizer.encode([("red", "sea")])
    assert pair["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]


def test_no_tokenizer_at_all(tmp_path):
    with pytest.raises(InputError, match=r"add its tokenizer\.json") as info:
        open_tokenizer(tmp_path)
    assert "\n" not in str(info.value)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "sleep", "##s"]


def test_word_pieces_alone_are_those_of_bert(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    rows = open_tokenizer(tmp_path).split(["Cat sleeps"])
    assert rows[0].ids == (2, 5, 6, 7, 3)


def test_word_pieces_of_somebody_else_are_not_taken_for_them(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    settings = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "none"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="no tokenizer that can be read"):
        open_tokenizer(tmp_path)


def test_files_that_their_library_cannot_read(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "spm.model").write_bytes(b"no sentencepiece model")
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    with pytest.raises(InputError, match="no tokenizer that can be read") as error:
        open_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_a_vocabulary_elsewhere_is_not_read(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "private").write_text("\n".join([*WORDS, "secret"]))
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    settings = {"tokenizer_class": "BertTokenizer", "vocab_file": str(tmp_path / "private")}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="as vocab_file, outside of its folder"):
        open_tokenizer(folder)


def test_an_expression_that_takes_for_ever_ends_in_one_line(tmp_path, capfd):
    """Its library gives up, and panics."""
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    normalizer = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}
    told = {"version": "1.0", "normalizer": normalizer, "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="refuses these texts") as error:
        open_tokenizer(tmp_path).split(["a" * 60 + "!"])
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
