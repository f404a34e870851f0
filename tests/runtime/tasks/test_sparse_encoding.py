"""Weighted terms: hand-made logits; and a sparse encoder from its folder to what its own library
gives."""

import json

import numpy as np
import pytest

from exporters import ExportOptions, export
from exporters.sources.to_onnx import has_optimum
from runtime import FillMask
from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.sparse_encoding import SparseEncoding
from toolkit import Budget, LightTokenConfig
from toolkit.bundle.manifest import Pooling
from toolkit.cli.app import run
from toolkit.errors import InputError

TASK = "fill-mask"


def bundle(folder, tiny, mode="splade-max"):
    """Red speaks for sea (3) and sky (1), green for sky (2), special tokens and blue for none."""
    values = np.full((10, 10), -1, np.float32)
    values[0] = 1e6
    values[5, [8, 9]] = 3, 1
    values[6, 9] = 2
    return tiny.bundle(folder, TASK, values, pooling=Pooling(mode))


def shown(terms):
    return {term.token: term.weight for term in terms}


@pytest.mark.parametrize(
    ("mode", "sea", "sky"),
    [
        ("splade-max", np.log(4), np.log(3)),
        ("splade-sum", np.log(4), np.log(2) + np.log(3)),
        ("splade-max-log1p", np.log1p(np.log(4)), np.log1p(np.log(3))),
    ],
)
def test_terms_by_weight(tmp_path, tiny, mode, sea, sky):
    encode = open_pipeline(bundle(tmp_path / "b", tiny, mode))
    assert isinstance(encode, SparseEncoding)
    both, none, red = encode(["red green", "blue", "red"], batch_size=2)
    assert shown(both) == pytest.approx({"sea": sea, "sky": sky})
    assert [t.weight for t in both] == sorted((t.weight for t in both), reverse=True)
    assert none == ()
    assert [t.token for t in red] == ["sea", "sky"]
    assert [t.token for t in encode(["red"], top_k=1)[0]] == ["sea"]
    assert encode([]) == []
    with pytest.raises(InputError, match="top_k must be at least 1, got 0"):
        encode(["red"], top_k=0)


def test_it_fills_masks_where_asked_to(tmp_path, tiny):
    assert isinstance(open_pipeline(bundle(tmp_path / "b", tiny), task=TASK), FillMask)


def test_the_command_line(tmp_path, tiny, capfd):
    path = str(bundle(tmp_path / "b", tiny))
    assert run(["run", path, "red green", "blue"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == ["red green", "  sea 1.39, sky 1.10", "blue", "  no term has a weight"]
    assert run(["run", path, "red", "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert [(t["token"], t["id"]) for t in result["terms"]] == [("sea", 8), ("sky", 9)]


@pytest.fixture(scope="module")
def folder(tiny_model, encoder_folder, tmp_path_factory):
    """A sparse encoder as sentence-transformers writes it."""
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    plain = tmp_path_factory.mktemp("splade") / "masked"
    tiny_model("BertForMaskedLM", initializer_range=0.2).save_pretrained(plain)
    library = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=library,
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
        model_max_length=32,
    ).save_pretrained(plain)
    return plain


TEXTS = ["word1 word20 word7", "word100", "word3 word4 word5 word6"]


@pytest.mark.parametrize("strategy", ["max", "sum"])
def test_from_the_folder_to_its_librarys_terms(folder, tmp_path, monkeypatch, strategy):
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling

    masked = MLMTransformer(str(folder), max_seq_length=32)
    encoder = library.SparseEncoder(modules=[masked, SpladePooling(strategy)], device="cpu")
    source = tmp_path / "splade"
    encoder.save_pretrained(str(source))
    options = ExportOptions(config=LightTokenConfig(rounds=1), exporter="dynamo")
    manifest = export(
        str(source), tmp_path / "bundle", Budget(ratio=3), options=options, keep_original=tmp_path
    )
    assert (manifest.task, manifest.pooling) == (TASK, Pooling(f"splade-{strategy}"))
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "pipeline_tag: feature-extraction" in card
    assert 'pipeline(["A cat sleeps.", "A kitten is napping."])' in card

    original = tmp_path / "original" / "model.onnx"
    found = open_pipeline(original, like=tmp_path / "bundle")(TEXTS)
    wanted = encoder.encode(TEXTS, convert_to_sparse_tensor=False).cpu().numpy()
    for terms, vector in zip(found, wanted, strict=True):
        got = np.zeros_like(vector)
        got[[t.id for t in terms]] = [t.weight for t in terms]
        assert np.count_nonzero(vector) > 10
        np.testing.assert_allclose(got, vector, atol=1e-5)

    if not has_optimum():
        return
    # The card's own program.
    monkeypatch.chdir(tmp_path / "bundle")
    (program,) = [
        part.split("```")[0] for part in card.split("```python\n")[1:] if "SparseEncoder" in part
    ]
    scope = {}
    exec(program, scope)
    # The native kernel, where it is built, gives logits within a bound.
    ours = open_pipeline(tmp_path / "bundle", op=False)(["A cat sleeps."])[0]
    theirs = scope["vectors"].to_dense()[0].cpu().numpy()
    np.testing.assert_allclose(theirs[[t.id for t in ours]], [t.weight for t in ours], atol=1e-5)


def test_the_file_alone_is_known_by_its_modules(folder, tmp_path):
    from exporters.sources.facts import read_facts

    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    kinds = ["MLMTransformer", "SpladePooling"]
    modules = [
        {"path": f"{i}_{k}" if i else "", "type": f"x.models.{k}"} for i, k in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_SpladePooling").mkdir()
    settings = tmp_path / "1_SpladePooling" / "config.json"
    for config, mode in (
        ({"pooling_strategy": "sum"}, "splade-sum"),
        ({"pooling_strategy": "max", "activation_function": "log1p_relu"}, "splade-max-log1p"),
    ):
        settings.write_text(json.dumps(config))
        facts = read_facts(tmp_path)
        assert (facts.task, facts.pooling, facts.weighs_terms) == (TASK, Pooling(mode), True)
        assert "1_SpladePooling/config.json" in facts.assets
    settings.write_text(json.dumps({"pooling_strategy": "mean"}))
    facts = read_facts(tmp_path)
    assert (facts.task, facts.pooling) == (TASK, None)
    assert "weights of terms that are not known here (mean, relu)" in facts.notes[0]
