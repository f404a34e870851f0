"""Text halves of CLIP and SigLIP: from the folder to the vectors that torch gives."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from exporters import export
from exporters.sources.facts import read_facts
from exporters.sources.source import read_table
from exporters.sources.text_towers import text_tower
from exporters.sources.to_onnx import export_onnx, has_optimum
from runtime.tasks.pipeline import open_pipeline
from toolkit import Budget
from toolkit.cli.app import run
from toolkit.errors import InputError

ROWS, LENGTH = 300, 32
TEXT = {
    **{"vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 48, "max_position_embeddings": LENGTH, "initializer_range": 0.3},
    **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
}
VISION = {
    **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4},
    **{"intermediate_size": 48, "image_size": 32, "patch_size": 16},
}
CASES = {
    "CLIPTextModelWithProjection": ("text_embeds", 24),
    "CLIPTextModel": ("pooler_output", 32),
    "CLIPModel": ("text_embeds", 24),
    "SiglipTextModel": ("pooler_output", 24),
    "SiglipModel": ("pooler_output", 24),
}
TEXTS = ["w7", "w4 w200 w4 w9", "w20 w30"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """``saved(architecture)``: the model in evaluation, its folder, and its tokenizer."""
    made = {}

    def build(name):
        if name in made:
            return made[name]
        kind = getattr(transformers, name)
        torch.manual_seed(0)
        if name.endswith("TextModel") or "Projection" in name:
            config = kind.config_class(**TEXT, projection_dim=24, projection_size=24)
        else:
            whole = {"projection_dim": 24} if name == "CLIPModel" else {}
            text = TEXT | {"projection_size": 24}
            config = kind.config_class(text_config=text, vision_config=VISION, **whole)
        model = kind(config).eval()
        folder = tmp_path_factory.mktemp("towers") / name
        model.save_pretrained(folder)
        words = {"<s>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, ROWS)}}
        library = Tokenizer(models.WordLevel(words, "</s>"))
        library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        library.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=library,
            **{"pad_token": "</s>", "eos_token": "</s>", "model_max_length": LENGTH},
        )
        tokenizer.save_pretrained(folder)
        return made.setdefault(name, (model, folder, tokenizer))

    return build


def wanted(model, tokenizer, name):
    """As the model's own page has it: CLIP with a mask, SigLIP filled up without one."""
    if "Siglip" in name:
        inputs = tokenizer(TEXTS, padding="max_length", max_length=LENGTH, return_tensors="pt")
        inputs = {"input_ids": inputs["input_ids"]}
    else:
        inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        if hasattr(model, "get_text_features"):
            found = model.get_text_features(**inputs)
            return (found if isinstance(found, torch.Tensor) else found.pooler_output).numpy()
        return model(**inputs)[CASES[name][0]].numpy()


@pytest.mark.parametrize("name", CASES)
def test_vectors_are_torchs(saved, quick, tmp_path, capfd, name):
    model, folder, tokenizer = saved(name)
    vector, width = CASES[name]
    manifest = export(
        str(folder),
        tmp_path / "bundle",
        Budget(ratio=3),
        options=quick(exporter="dynamo"),
        keep_original=tmp_path,
    )
    assert (manifest.task, manifest.max_length) == ("feature-extraction", LENGTH)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert f"The output\n`{vector}` is one vector a text." in card
    assert ("the text model is exported alone" in card) == (name in ("CLIPModel", "SiglipModel"))
    original = tmp_path / "original" / "model.onnx"
    vectors = open_pipeline(original, like=tmp_path / "bundle")(TEXTS)
    assert vectors.shape == (3, width)
    np.testing.assert_allclose(vectors, wanted(model, tokenizer, name), atol=1e-5)

    assert run(["run", str(tmp_path / "bundle"), *TEXTS, "--json"]) == 0
    told = np.array(json.loads(capfd.readouterr().out)["vectors"])
    packed = open_pipeline(tmp_path / "bundle")(TEXTS, batch_size=1)
    np.testing.assert_allclose(told, packed, atol=1e-5)


@pytest.mark.parametrize("name", ["CLIPTextModelWithProjection", "SiglipTextModel"])
def test_a_file_that_gives_states_too(saved, quick, tmp_path, name):
    """As the files on the hub do: the vector counts, not the states' mean."""
    model, folder, tokenizer = saved(name)
    vector, _ = CASES[name]

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids):
            found = self.model(input_ids=input_ids)
            return found[vector], found["last_hidden_state"]

    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        Both(),
        (torch.arange(18).reshape(2, 9),),
        **{"dynamo": True, "input_names": ["input_ids"], "verbose": False},
        output_names=[vector, "last_hidden_state"],
        dynamic_shapes=({0: free, 1: free},),
    )
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    program.save(str(tmp_path / "text_model.onnx"))
    manifest = export(
        str(tmp_path / "text_model.onnx"), tmp_path / "bundle", Budget(ratio=3), options=quick()
    )
    assert manifest.task == "feature-extraction"
    assert f"`{vector}` is one" in (tmp_path / "bundle" / "README.md").read_text()
    found = open_pipeline(tmp_path / "text_model.onnx", like=tmp_path / "bundle")(TEXTS)
    expected = wanted(model, tokenizer, name)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_table_is_that_of_the_texts(saved):
    model, folder, _ = saved("CLIPModel")
    table = read_table(str(folder)).values
    weight = model.text_model.embeddings.token_embedding.weight.detach().numpy()
    np.testing.assert_array_equal(table, weight)


@pytest.mark.skipif(not has_optimum(), reason="needs optimum")
def test_optimum_would_export_both_halves(saved, tmp_path):
    _, folder, _ = saved("CLIPModel")
    with pytest.raises(InputError, match="leave --exporter optimum out"):
        export_onnx(folder, read_facts(folder), tmp_path, "optimum")


def test_other_models_are_no_towers():
    assert text_tower("ClapTextModelWithProjection").vector == "text_embeds"
    assert [text_tower(name) for name in (None, "BertModel", "CLIPVisionModel")] == [None] * 3
