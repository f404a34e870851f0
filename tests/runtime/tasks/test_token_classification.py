"""Labelled words: hand-made logits, pieces, windows; and a tagger from its folder to the page."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from exporters import ExportOptions, export
from exporters.sources.to_onnx import has_optimum
from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.token_classification import TokenClassification
from runtime.tasks.tokenize import open_tokenizer
from toolkit import Budget, LightTokenConfig
from toolkit.cli.app import run
from toolkit.errors import InputError

TASK = "token-classification"
GRAPH = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,c] logits)
    { logits = Gather(table, input_ids) }"""
BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# What each piece speaks for.
VOICES = {
    **{"ada": "B-PER", "love": "I-PER", "##lace": "B-LOC", "was": "O", "in": "O"},
    **{"new": "B-LOC", "york": "I-LOC", "東": "B-LOC", "京": "I-LOC", "bob": "B-PER"},
    **{"saw": "O", "-": "I-PER"},
}
PIECES = [*SPECIAL, *VOICES]


def tagger(folder, tiny, labels=BIO, voices=VOICES, **facts):
    """A bundle whose pieces vote by three for their label; special tokens vote for the second."""
    values = np.zeros((len(PIECES), len(labels)), np.float32)
    values[: len(SPECIAL), 1] = 1e4
    for piece, label in voices.items():
        values[PIECES.index(piece), labels.index(label)] = 3.0
    config = {"id2label": {str(i): label for i, label in enumerate(labels)}}
    options = {"max_length": 16, "pooling": None, "rows": len(PIECES)} | facts
    path = tiny.bundle(folder, TASK, values, graph=GRAPH, config=config, **options)
    library = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()  # puts spaces around Chinese characters
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    library.save(str(path / "tokenizer.json"))
    return open_pipeline(path, verify=False)


def shown(spans):
    return [(span.text, span.label) for span in spans]


def test_pieces_and_words_become_spans_with_their_places(tmp_path, tiny):
    tag = tagger(tmp_path / "b", tiny)
    assert isinstance(tag, TokenClassification)
    text = "ada  lovelace was in new york"
    (spans,) = tag([text])
    # The second piece of lovelace would speak for a place: the first decides.
    assert shown(spans) == [("ada  lovelace", "PER"), ("new york", "LOC")]
    assert [(s.start, s.end) for s in spans] == [(0, 13), (21, 29)]
    assert all(text[s.start : s.end] == s.text for s in spans)
    assert spans[0].score == pytest.approx(np.exp(3) / (np.exp(3) + 4))


def test_a_beginning_starts_a_new_span_and_an_inside_of_its_own_does_too(tmp_path, tiny):
    tag = tagger(tmp_path / "b", tiny)
    found = tag(["ada bob", "york", "ada york", "ada was love", "ada-love", ""])
    assert [shown(spans) for spans in found] == [
        [("ada", "PER"), ("bob", "PER")],
        [("york", "LOC")],
        [("ada", "PER"), ("york", "LOC")],
        [("ada", "PER"), ("love", "PER")],
        [("ada-love", "PER")],
        [],
    ]


def test_a_spans_score_is_the_mean_of_its_words(tmp_path, tiny):
    tag = tagger(tmp_path / "b", tiny)
    ((ada,), (love,), (both,)) = tag(["ada", "love", "ada lovelace"])
    assert both.score == pytest.approx((ada.score + love.score) / 2)


def test_scripts_without_spaces_keep_each_label(tmp_path, tiny):
    (spans,) = tagger(tmp_path / "b", tiny)(["東京"])
    assert shown(spans) == [("東京", "LOC")]
    assert spans[0].end == 2


def test_labels_without_letters_join_where_there_is_a_rest(tmp_path, tiny):
    plain = {piece: label.split("-")[-1] for piece, label in VOICES.items()}
    found = tagger(tmp_path / "b", tiny, ["O", "PER", "LOC"], plain)(["ada bob was in new york"])
    assert shown(found[0]) == [("ada bob", "PER"), ("new york", "LOC")]


def test_parts_of_speech_stand_for_a_word_each(tmp_path, tiny):
    speech = dict.fromkeys(VOICES, "NOUN") | {"was": "VERB"}
    (spans,) = tagger(tmp_path / "b", tiny, ["NOUN", "VERB"], speech)(["new york was lovelace"])
    assert shown(spans) == [
        ("new", "NOUN"),
        ("york", "NOUN"),
        ("was", "VERB"),
        ("lovelace", "NOUN"),
    ]


def test_one_label_with_a_dash_makes_no_scheme(tmp_path, tiny):
    voices = dict.fromkeys(VOICES, "O") | {"ada": "E-MAIL", "bob": "PHONE"}
    (spans,) = tagger(tmp_path / "b", tiny, ["O", "E-MAIL", "PHONE"], voices)(["ada was bob"])
    assert shown(spans) == [("ada", "E-MAIL"), ("bob", "PHONE")]


@pytest.mark.parametrize("kind", ["metaspace", "byte level"])
def test_tokenizers_that_count_spaces_to_their_tokens(tmp_path, tiny, kind):
    tag = tagger(tmp_path / "b", tiny)
    mark = "\u2581" if kind == "metaspace" else "\u0120"
    pieces = [p if p in SPECIAL else p[2:] if p[:2] == "##" else mark + p for p in PIECES]
    pieces[pieces.index(f"{mark}-")] = "-"
    library = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=1))
    if kind == "metaspace":
        library.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    path = tmp_path / "b"
    library.save(str(path / "tokenizer.json"))
    text = "ada lovelace was in  new york"
    (spans,) = open_pipeline(path, verify=False)([text])
    assert spans == tag([text])[0]
    assert shown(spans) == [("ada lovelace", "PER"), ("new york", "LOC")]


@pytest.mark.parametrize("before", [0, 1, 5, 8, 12, 13, 14, 15, 27, 40])
def test_long_texts_lose_nothing_and_repeat_nothing(tmp_path, tiny, before):
    tag = tagger(tmp_path / "b", tiny)
    text = "was " * before + "ada lovelace" + " was" * 30
    (spans,) = tag([text])
    assert [(s.text, s.start) for s in spans] == [("ada lovelace", 4 * before)]
    assert tag([text, "ada"], batch_size=1)[0] == spans


def test_what_is_no_list_of_texts(tmp_path, tiny):
    tag = tagger(tmp_path / "b", tiny)
    with pytest.raises(InputError, match="single string"):
        tag("ada")
    with pytest.raises(InputError, match="is no text; give strings"):
        tag([("ada", "bob")])
    assert tag([]) == []


def test_a_graph_without_labels_of_tokens(tmp_path, tiny):
    path = tiny.bundle(
        tmp_path / "b", TASK, tiny.table(3), graph=tiny.graphs["text-classification"]
    )
    with pytest.raises(InputError, match="no output of rank 3 for token-classification"):
        open_pipeline(path)


@pytest.fixture(scope="module")
def folder(tiny_model, encoder_folder, tmp_path_factory):
    """A tagger of random weights, with the encoder's tokenizer and labels of its own."""
    folder = tmp_path_factory.mktemp("taggers") / "tagger"
    labels = dict(enumerate(["O", "B-PER", "I-PER"]))
    model = tiny_model("BertForTokenClassification", id2label=labels, initializer_range=0.5)
    model.save_pretrained(folder)
    library = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": 32, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


TEXT = "word1 word20 word7 word100 word3"


@pytest.mark.parametrize("exporter", ["dynamo", "optimum", "none"])
def test_from_the_folder_or_the_file_to_words(folder, tiny_model, tmp_path, capfd, exporter):
    import torch

    if exporter != "dynamo" and not has_optimum():
        pytest.skip("needs optimum")
    source = folder
    if exporter == "none":
        from optimum.exporters.onnx import main_export

        source = tmp_path / "optimum" / "model.onnx"
        main_export(
            str(folder), source.parent, task=TASK, local_files_only=True, do_validation=False
        )
    options = ExportOptions(
        config=LightTokenConfig(rounds=1), exporter="auto" if exporter == "none" else exporter
    )
    manifest = export(
        str(source), tmp_path / "bundle", Budget(ratio=3), options=options, keep_original=tmp_path
    )
    assert manifest.task == TASK
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card

    # The uncompressed file labels as torch does.
    original = source if exporter == "none" else tmp_path / "original" / "model.onnx"
    tag = open_pipeline(original, like=tmp_path / "bundle")
    (row,) = open_tokenizer(tmp_path / "bundle").split([TEXT])
    model = tiny_model(
        "BertForTokenClassification",
        id2label=dict(enumerate(["O", "B-PER", "I-PER"])),
        initializer_range=0.5,
    )
    with torch.no_grad():
        wanted = model(torch.tensor([row.ids])).logits[0].argmax(-1).tolist()
    labelled = {i for s in tag([TEXT])[0] for i in range(s.start, s.end) if TEXT[i] != " "}
    starts = [TEXT.index(word) for word in TEXT.split()]
    assert [place in labelled for place in starts] == [label > 0 for label in wanted]

    assert run(["run", str(tmp_path / "bundle"), TEXT, "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert result["text"] == TEXT
    spans = open_pipeline(tmp_path / "bundle")([TEXT])[0]
    assert [s["start"] for s in result["spans"]] == [s.start for s in spans]
    assert run(["run", str(tmp_path / "bundle"), TEXT]) == 0
    lines = capfd.readouterr().out.splitlines()
    wanted = [f"  {s.label}: {s.text} {s.score:.1%}" for s in spans] or ["  no word has a label"]
    assert lines == [TEXT, *wanted]
