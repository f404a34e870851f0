"""Models with fewer tokens compute what they computed."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from exporters import ExportOptions, export
from exporters.vocabulary.choose import Wanted
from exporters.vocabulary.cut import cut_folder
from runtime import open_pipeline
from tests.exporters.vocabulary.conftest import TOKENS
from toolkit import Budget
from toolkit.errors import InputError

ENGLISH = Wanted(("en",))
SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "vocab_size": TOKENS}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def bert(**settings):
    config = transformers.BertConfig(**SMALL, intermediate_size=32, **IDS, **settings)
    return transformers.BertForMaskedLM(config)


def xlm_roberta():
    config = transformers.XLMRobertaConfig(**SMALL, intermediate_size=32, **IDS)
    return transformers.XLMRobertaModel(config)


def llama(tied):
    config = transformers.LlamaConfig(
        **SMALL, intermediate_size=32, **IDS, tie_word_embeddings=tied
    )
    return transformers.LlamaForCausalLM(config)


def t5():
    config = transformers.T5Config(
        vocab_size=TOKENS, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=2, decoder_start_token_id=2998,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def opened(cls, folder):
    return cls.from_pretrained(folder, local_files_only=True).eval()


def logits(model, ids):
    given = {"input_ids": torch.from_numpy(ids)}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = given["input_ids"]
    with torch.no_grad():
        found = model(**given)
    return (found.logits if "logits" in found else found.last_hidden_state).numpy()


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("wordpiece", bert),
        ("unigram", xlm_roberta),
        ("bpe", lambda: llama(True)),
        ("byte_level", lambda: llama(False)),
        ("unigram", t5),
    ],
    ids=["bert", "xlm-roberta", "llama tied", "llama", "t5"],
)
def test_what_stays_is_computed_as_before(saved, tmp_path, kind, make):
    torch.manual_seed(0)
    model = make().eval()
    folder = saved(kind, model)
    cut = cut_folder(folder, ENGLISH, tmp_path / "cut")
    after = opened(type(model), cut.folder)
    ids = np.random.default_rng(0).integers(0, len(cut.kept), (3, 9))
    before = logits(model, cut.kept[ids])
    if before.shape[-1] == TOKENS:
        before = before[..., cut.kept]
    np.testing.assert_allclose(logits(after, ids), before, atol=1e-6)
    assert after.config.vocab_size == len(cut.kept)
    untied = not model.config.tie_word_embeddings and kind == "byte_level"
    bias = 1 if kind == "wordpiece" else 0
    gone = TOKENS - len(cut.kept)
    assert cut.nbytes == gone * (16 * (2 if untied else 1) + bias) * 4
    before, after = (Tokenizer.from_file(str(at / "tokenizer.json")) for at in (folder, cut.folder))
    line = "the house of the people"
    assert cut.kept[after.encode(line).ids].tolist() == before.encode(line).ids


def test_settings_follow(saved, tmp_path):
    model = t5()
    folder = saved("unigram", model)
    told = json.loads((folder / "generation_config.json").read_text())
    told |= {"suppress_tokens": [5, 2997], "forced_decoder_ids": [[1, 2996], [2, None], 3]}
    told |= {"lang_to_id": {"de": 2995, "fr": [1]}, "bad_words_ids": [[2, 5], [[]], [1, 1 << 60]]}
    (folder / "generation_config.json").write_text(json.dumps(told))
    cut = cut_folder(folder, ENGLISH, tmp_path / "cut")
    place = {int(old): new for new, old in enumerate(cut.kept)}
    config = json.loads((cut.folder / "config.json").read_text())
    generation = json.loads((cut.folder / "generation_config.json").read_text())
    assert config["decoder_start_token_id"] == place[2998]
    assert generation["decoder_start_token_id"] == place[2998]
    assert generation["forced_decoder_ids"] == [[1, place[2996]]]
    assert generation["lang_to_id"] == {"de": place[2995]}
    assert generation["bad_words_ids"] == ([[place[2], place[5]]] if 5 in place else [])
    assert generation["suppress_tokens"] == [place[id_] for id_ in (5, 2997) if id_ in place]


def test_transformers_opens_the_tokenizer(saved, tmp_path):
    def add(data):
        data["added_tokens"].append(
            {"id": TOKENS, "content": "<mask>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
        )  # fmt: skip

    token = {"content": "<mask>", "special": True}
    settings = {"added_tokens_decoder": {str(TOKENS): token}, "mask_token": "<mask>"}
    torch.manual_seed(0)
    model = bert()
    model.resize_token_embeddings(TOKENS + 1)
    folder = saved(
        "unigram", model, add, additional_special_tokens=["<mask>", "<gone>"], **settings
    )
    cut = cut_folder(folder, ENGLISH, tmp_path / "cut")
    tokenizer = transformers.AutoTokenizer.from_pretrained(cut.folder)
    assert tokenizer.mask_token_id == len(cut.kept) - 1
    assert len(tokenizer) == len(cut.kept)
    assert "<gone>" not in tokenizer.additional_special_tokens


def test_shards_and_old_weights_are_read(saved, tmp_path):
    torch.manual_seed(0)
    model = bert().eval()
    folder = saved("unigram")
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    cut = cut_folder(folder, ENGLISH, tmp_path / "shards")
    ids = np.arange(20).reshape(2, 10)
    expected = logits(model, cut.kept[ids])[..., cut.kept]
    np.testing.assert_allclose(logits(opened(type(model), cut.folder), ids), expected, atol=1e-6)
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    old = cut_folder(folder, ENGLISH, tmp_path / "old")
    np.testing.assert_allclose(logits(opened(type(model), old.folder), ids), expected, atol=1e-6)


def test_other_files_go_along_and_other_forms_do_not(saved, tmp_path):
    folder = saved("unigram", xlm_roberta())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text("{}")
    (folder / "LICENSE").write_text("MIT")
    for name in ("sentencepiece.bpe.model", "model.onnx", "vocab.txt", "added_tokens.json"):
        (folder / name).write_text("x")
    cut = cut_folder(folder, ENGLISH, tmp_path / "cut")
    found = {path.relative_to(cut.folder).as_posix() for path in cut.folder.rglob("*")}
    assert {"1_Pooling/config.json", "LICENSE", "model.safetensors", "tokenizer.json"} <= found
    assert not found & {"sentencepiece.bpe.model", "model.onnx", "vocab.txt", "added_tokens.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": None}, "tells of no one size of its vocabulary"),
        ({"decoder_vocab_size": 7}, r"no one size of its vocabulary \(7, 3,000\)"),
        ({"max_position_embeddings": TOKENS}, "a max_position_embeddings of as many"),
        ({"vocab_size": 2000}, "has tokens from 2,000 on"),
        ({"vocab_size": 3500}, "no weights of model have 3,500 rows"),
    ],
)
def test_what_cannot_be_cut_is_refused(saved, tmp_path, change, message):
    folder = saved("unigram", xlm_roberta())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        cut_folder(folder, ENGLISH, tmp_path / "cut")


def test_a_tokenizer_that_is_no_tokenizer_json_is_refused(saved, tmp_path):
    folder = saved("unigram", xlm_roberta())
    (folder / "source.spm").write_text("x")
    with pytest.raises(InputError, match=r"is in source\.spm, which cannot be cut"):
        cut_folder(folder, ENGLISH, tmp_path / "cut")


def test_damaged_weights_are_one_line(saved, tmp_path):
    folder = saved("unigram", xlm_roberta())
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        cut_folder(folder, ENGLISH, tmp_path / "cut")


@pytest.mark.parametrize("untied", [False, True])
def test_a_decoder_with_a_cache_is_exported(saved, tmp_path, untied):
    torch.manual_seed(0)
    folder = saved("bpe", llama(not untied))
    out = tmp_path / "out"
    options = ExportOptions(languages="en", with_past=True)
    manifest = export(str(folder), out, Budget(ratio=3), options=options)
    assert manifest.vocabulary is not None
    assert manifest.rows == manifest.tables[0].rows < TOKENS
    assert bool(manifest.heads) == untied
    assert all(head.rows == manifest.rows for head in manifest.heads)
    genai = json.loads((out / "genai_config.json").read_text())
    assert genai["model"]["vocab_size"] == manifest.rows
    written = open_pipeline(out)("the house", max_tokens=5)
    assert written.text.isprintable()


def test_an_encoder_decoder_is_exported(saved, tmp_path):
    torch.manual_seed(0)
    folder = saved("unigram", t5())
    out = tmp_path / "out"
    manifest = export(
        str(folder), out, Budget(ratio=3), options=ExportOptions(languages="en", exporter="dynamo")
    )
    assert manifest.vocabulary is not None
    assert {each.rows for each in manifest.tables} == {manifest.rows}
    weights = (folder / "model.safetensors").stat().st_size
    assert manifest.footprint.original_model_bytes == pytest.approx(weights, rel=0.2)
