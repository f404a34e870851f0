"""Static embeddings: the graph gives the mean of the table's rows as their libraries do."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from exporters import export
from exporters.sources.source import load_source, read_table
from exporters.sources.static import read_static
from runtime import open_pipeline
from toolkit import Budget
from toolkit.errors import InputError

WORDS, WIDTH, UNKNOWN = 500, 32, 1
TEXTS = ["w7 w8 w9", "w7 nothing w300", "nothing", "", "w7 " * 600]


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(WORDS, WIDTH)).astype(np.float32)


def save_tokenizer(path):
    words = {f"w{index}": index for index in range(WORDS)}
    words["[UNK]"] = words.pop(f"w{UNKNOWN}")
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Which neither library lets frame a text.
    tokenizer.post_processor = processors.TemplateProcessing(
        single="w2 $A w3", special_tokens=[("w2", 2), ("w3", 3)]
    )
    path.mkdir(parents=True)
    tokenizer.save(str(path / "tokenizer.json"))


def save_model2vec(folder, tensors, **config):
    save_tokenizer(folder)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec"} | config))
    return folder


def save_static(folder, vectors, *further):
    save_tokenizer(folder / "0_StaticEmbedding")
    save_file({"embedding.weight": vectors}, folder / "0_StaticEmbedding/model.safetensors")
    kinds = {"0_StaticEmbedding": "StaticEmbedding"} | {f"{n}": n for n in further}
    modules = [
        {"idx": at, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def ids_of(text):
    words = text.split()
    return [int(word[1:]) if word.startswith("w") else UNKNOWN for word in words]


def means(rows, texts, *, skip=(), length=None):
    """Mean of ``rows`` [V, d] over the ids of each text that count."""
    found = np.zeros((len(texts), rows.shape[1]), np.float32)
    for index, text in enumerate(texts):
        ids = [each for each in ids_of(text)[:length] if each not in skip]
        if ids:
            found[index] = rows[ids].mean(axis=0)
    return found


def original(folder, tmp_path, texts=TEXTS):
    """What the uncompressed graph gives."""
    loaded = load_source(str(folder), tmp_path / "work")
    return open_pipeline(
        loaded.path, like=loaded.folder, task=loaded.facts.task, max_length=loaded.facts.max_length
    )(texts)


def test_model2vec_leaves_unknown_words_out_and_cuts_texts(vectors, tmp_path):
    folder = save_model2vec(tmp_path / "m2v", {"embeddings": vectors})
    wanted = means(vectors, TEXTS, skip=[UNKNOWN], length=512)
    np.testing.assert_allclose(original(folder, tmp_path), wanted, atol=1e-4)


def test_rows_may_be_shared_and_weighted(vectors, tmp_path):
    mapping = np.random.default_rng(1).integers(0, 100, WORDS)
    weights = np.random.default_rng(2).uniform(0.5, 2, WORDS)
    tensors = {"embeddings": vectors[:100].astype(np.float16), "mapping": mapping}
    folder = save_model2vec(tmp_path / "m2v", tensors | {"weights": weights}, normalize=True)
    rows = vectors[:100].astype(np.float16).astype(np.float32)[mapping] * weights[:, None]
    wanted = means(rows, TEXTS, skip=[UNKNOWN], length=512)
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    wanted = np.divide(wanted, lengths, out=wanted, where=lengths > 0)
    np.testing.assert_allclose(original(folder, tmp_path), wanted, atol=1e-4)


def test_sentence_transformers_counts_every_token(vectors, tmp_path):
    folder = save_static(tmp_path / "static", vectors)
    np.testing.assert_allclose(original(folder, tmp_path), means(vectors, TEXTS), atol=1e-4)


@pytest.mark.parametrize("save", [save_static, lambda f, v: save_model2vec(f, {"embeddings": v})])
def test_nearly_all_of_such_a_model_is_the_table(vectors, tmp_path, quick, save):
    folder = save(tmp_path / "model", vectors)
    out = tmp_path / "out"
    manifest = export(str(folder), out, Budget(ratio=6), options=quick())
    assert (manifest.exporter, manifest.source.kind) == ("static", "folder")
    assert (manifest.rows, manifest.width) == (WORDS, WIDTH)
    got, wanted = open_pipeline(out)(TEXTS), original(folder, tmp_path)
    cosines = (got * wanted).sum(1) / np.maximum(
        np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1), 1e-9
    )
    assert cosines[[0, 1, 4]].min() > 0.8
    np.testing.assert_array_equal(got[3], 0)
    np.testing.assert_array_equal(read_table(str(folder)).values, vectors)


def test_packed_rows_of_shared_ones_are_found_through_the_mapping(vectors, tmp_path, quick):
    mapping = np.random.default_rng(1).integers(0, 300, WORDS)
    tensors = {"embeddings": vectors[:300], "mapping": mapping}
    folder = save_model2vec(tmp_path / "m2v", tensors)
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=5), options=quick())
    assert (manifest.rows, manifest.width) == (300, WIDTH)
    got, wanted = open_pipeline(tmp_path / "out")(TEXTS[:1]), original(folder, tmp_path, TEXTS[:1])
    assert np.vdot(got, wanted) / np.linalg.norm(got) / np.linalg.norm(wanted) > 0.8


def test_what_is_missing_takes_one_line(vectors, tmp_path):
    folder = save_model2vec(tmp_path / "m2v", {"other": vectors})
    with pytest.raises(InputError, match="holds no table of vectors"):
        read_static(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        read_static(folder)
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        read_static(folder)


def test_further_modules_are_named(vectors, tmp_path, quick):
    folder = save_static(tmp_path / "static", vectors, "Dense", "Normalize")
    found = read_static(folder)
    assert found.normalize
    assert found.notes == ("modules.json asks for Dense, which the graph does not hold",)


def test_healing_has_nothing_to_train(vectors, tmp_path, quick):
    folder = save_static(tmp_path / "static", vectors)
    text = tmp_path / "text.txt"
    text.write_text("w7 w8\n" * 50)
    with pytest.raises(InputError, match="heal") as error:
        export(str(folder), tmp_path / "out", Budget(ratio=6), options=quick(heal=text))
    assert "\n" not in str(error.value)


def test_damaged_weights_and_modules_take_one_line(vectors, tmp_path):
    folder = save_model2vec(tmp_path / "m2v", {"embeddings": vectors})
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(InputError, match="is no safetensors file"):
        read_static(folder)
    outside = save_static(tmp_path / "static", vectors)
    modules = [{"idx": 0, "path": "/etc", "type": "sentence_transformers.models.StaticEmbedding"}]
    (outside / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="leads out of its folder"):
        read_static(outside)
