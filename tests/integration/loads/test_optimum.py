"""optimum's classes open a bundle by ``from_pretrained``."""

import numpy as np
import pytest
import torch

from runtime import open_pipeline, open_session
from runtime.tasks.pooling import pool

optimum = pytest.importorskip(
    "optimum.onnxruntime", reason="needs optimum: pip install -e '.[optimum]'"
)


@pytest.mark.slow
def test_a_feature_extractor_gives_the_pipelines_vectors(bundle, texts, close):
    from transformers import AutoTokenizer

    model = optimum.ORTModelForFeatureExtraction.from_pretrained(bundle.folder)
    tokenizer = AutoTokenizer.from_pretrained(bundle.folder)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    states = model(**inputs).last_hidden_state
    close(pool(states, inputs["attention_mask"], bundle.manifest.pooling), bundle.vectors)


@pytest.mark.slow
def test_the_cards_program_runs(bundle, run_card, close):
    scope = run_card(bundle.folder, "ORTModelForFeatureExtraction")
    states = scope["outputs"].last_hidden_state.numpy()
    mask = scope["inputs"]["attention_mask"].numpy()
    vectors = open_pipeline(bundle.folder)(scope["texts"])
    close(pool(states, mask, bundle.manifest.pooling), vectors)


def logits_of(folder, inputs):
    session = open_session(folder, op=False)
    feeds = {info.name: inputs[info.name].numpy() for info in session.inputs}
    return session.run(feeds)["logits"]


@pytest.mark.parametrize("layout", ["flat", "transformers-js"])
@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification"])
def test_a_classifier_gives_the_sessions_logits(save_tiny, run_card, close, layout, kind):
    folder = save_tiny(f"BertFor{kind}", layout)
    scope = run_card(folder, f"ORTModelFor{kind}")
    assert isinstance(scope["model"], getattr(optimum, f"ORTModelFor{kind}"))
    close(scope["outputs"].logits.numpy(), logits_of(folder, scope["inputs"]))


@pytest.mark.parametrize("layout", ["flat", "transformers-js"])
def test_a_text_generator_gives_the_sessions_tokens(save_tiny, run_card, close, layout):
    folder = save_tiny("LlamaForCausalLM", layout)
    scope = run_card(folder, "ORTModelForCausalLM")
    ids = scope["inputs"]["input_ids"]
    with torch.no_grad():
        logits = scope["model"](**scope["inputs"]).logits
    close(logits.numpy(), logits_of(folder, scope["inputs"]))
    for _ in range(8):
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        following = int(np.argmax(logits_of(folder, inputs)[0, -1]))
        ids = torch.cat([ids, torch.tensor([[following]])], dim=1)
    generated = scope["outputs"]
    assert generated.tolist() == ids[:, : generated.shape[1]].tolist()
    assert generated.shape[1] == ids.shape[1] or generated[0, -1] == 3  # it may end early


@pytest.mark.parametrize("layout", ["flat", "transformers-js"])
def test_with_a_cache_the_tokens_are_the_same(save_tiny, run_card, layout):
    program = "ORTModelForCausalLM"
    plain = run_card(save_tiny("LlamaForCausalLM", layout), program)
    scope = run_card(save_tiny("LlamaForCausalLM", layout, with_past=True), program)
    assert scope["model"].can_use_cache
    assert scope["outputs"].tolist() == plain["outputs"].tolist()


def test_masked_words_are_those_of_the_pipeline(save_tiny, run_card):
    folder = save_tiny("BertForMaskedLM", "flat")
    scope = run_card(folder, "ORTModelForMaskedLM")
    logits, tokenizer = scope["outputs"].logits.numpy(), scope["tokenizer"]
    place = scope["inputs"]["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    (masks,) = open_pipeline(folder, op=False)(scope["texts"])
    assert masks[0].candidates[0].token == tokenizer.decode(logits[0, place].argmax())
