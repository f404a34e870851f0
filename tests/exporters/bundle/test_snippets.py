"""The card's programs fit the bundle; ``tests/integration/loads/`` runs them."""

import re
from dataclasses import replace

import pytest

from exporters.bundle.card import model_card
from exporters.bundle.snippets import snippets
from toolkit.bundle.manifest import Pooling

WORDS = {
    "open_pipeline": "lighttoken",
    "tokenizers import": "onnxruntime",
    "optimum.onnxruntime": "optimum",
    "SentenceTransformer(": "sentence-transformers",
    "@huggingface/transformers": "transformers.js",
}


def shown(manifest):
    text = "\n".join(snippets(manifest))
    assert not re.search(r"\{\w+\}", text)  # no placeholder is left
    return [name for word, name in WORDS.items() if word in text]


def web(manifest):
    return replace(manifest, model="onnx/model.onnx")


def without(manifest, *names):
    files = {name: file for name, file in manifest.files.items() if name not in names}
    return replace(manifest, files=files)


def test_a_sentence_encoder_shows_all(exported):
    flat = ["lighttoken", "onnxruntime", "optimum", "sentence-transformers"]
    assert shown(exported.manifest) == flat
    assert shown(web(exported.manifest)) == [*flat, "transformers.js"]


def test_without_pooling_it_is_no_sentence_encoder(exported):
    assert "sentence-transformers" not in shown(replace(exported.manifest, pooling=None))


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("feature-extraction", "ORTModelForFeatureExtraction"),
        ("fill-mask", "ORTModelForMaskedLM"),
        ("text-classification", "ORTModelForSequenceClassification"),
        ("text-ranking", "ORTModelForSequenceClassification"),
        ("token-classification", "ORTModelForTokenClassification"),
        ("text-generation", "ORTModelForCausalLM"),
        ("question-answering", "ORTModelForQuestionAnswering"),
    ],
)
def test_optimums_class_is_that_of_the_task(exported, task, kind):
    manifest = replace(exported.manifest, task=task, pooling=None)
    assert f"model = {kind}.from_pretrained" in "\n".join(snippets(manifest))
    assert ("transformers.js" in shown(web(manifest))) == (
        task not in ("text-generation", "question-answering", "text-ranking")
    )


@pytest.mark.parametrize(
    ("pooling", "settings"),
    [
        (Pooling("mean", normalize=True), 'pooling: "mean", normalize: true'),
        (Pooling("cls"), 'pooling: "cls", normalize: false'),
        (Pooling("max"), 'is napping."]);'),  # it has no such mode: token vectors
    ],
)
def test_transformers_js_pools_as_the_model_does(exported, pooling, settings):
    text = "\n".join(snippets(web(replace(exported.manifest, pooling=pooling))))
    assert settings in text


def test_a_question_comes_with_its_context(exported):
    manifest = replace(exported.manifest, task="question-answering", pooling=None)
    text = "\n".join(snippets(manifest))
    assert 'pipeline([["Who sleeps?", "A cat sleeps by the river."]])' in text
    assert 'encode("Who sleeps?", "A cat sleeps by the river.")' in text


def test_what_is_not_in_the_bundle_is_not_used(exported):
    manifest = exported.manifest
    assert shown(without(manifest, "config.json")) == ["lighttoken", "onnxruntime"]
    bare = "\n".join(snippets(without(manifest, "tokenizer.json")))
    assert "InferenceSession" in bare
    assert "tokenizer" not in bare


def test_a_text_generator_with_a_cache_shows_other_programs(exported):
    plain = replace(exported.manifest, task="text-generation", pooling=None)
    cached = replace(plain, cached=True)
    assert "feeds" not in "\n".join(snippets(cached))
    assert 'from_pretrained(".", use_cache=False)' in "\n".join(snippets(plain))
    assert "use_cache" not in "\n".join(snippets(cached))
    assert shown(web(plain)) == ["onnxruntime", "optimum"]
    assert shown(web(cached)) == ["optimum", "transformers.js"]


def test_fixed_sizes_and_other_formats_are_for_those_who_take_them(exported):
    fixed = replace(exported.manifest, batch=1, sequence=128)
    for manifest in (fixed, web(fixed), replace(exported.manifest, model="model.ort")):
        assert shown(manifest) == []
        assert f'InferenceSession("{manifest.model}")' in "\n".join(snippets(manifest))


def test_other_names_of_ids_are_for_onnxruntime_only(exported):
    manifest = replace(exported.manifest, ids_input="tokens")
    assert '"tokens": np.array' in "\n".join(snippets(manifest))
    assert "optimum" not in shown(manifest)


def test_a_pooled_graph_is_asked_for_its_vector(exported):
    manifest = replace(exported.manifest, pooled=True)
    assert 'session.run(["sentence_embedding"], ' in "\n".join(snippets(manifest))
    assert "one vector a text, pooled and normalised" in model_card(manifest)
    assert "sentence_embedding" not in model_card(exported.manifest)


def test_the_card_names_the_layouts_files(exported):
    flat, other = model_card(exported.manifest), model_card(web(exported.manifest))
    assert "library_name: onnxruntime" in flat
    assert "library_name: transformers.js" in other
    assert '{ path: "model.onnx.data", data: "model.onnx.data" }' in flat
    assert '{ path: "model.onnx_data", data: "onnx/model.onnx_data" }' in other
    assert 'createSession("$folder/onnx/model.onnx")' in other
