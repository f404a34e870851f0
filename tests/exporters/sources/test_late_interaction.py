"""ColBERT models from their folders to scores, beside a reference written down here."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from exporters import export
from exporters.sources.to_onnx import has_optimum
from runtime import open_pipeline
from toolkit import Budget
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

# Of the tokenizer below: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, [unused0] 5, word i 69 + i.
CLS, SEP, MASK, QUERY, DOCUMENT, STOP = 2, 3, 4, 5, 6, 299
QUERIES = ["word1 word20 word7", "word9 " * 30]
DOCUMENTS = ["word1 word20 word230 word3", "word230", "word50 word7 " * 20]
QUERY_LENGTH, DOCUMENT_LENGTH = 10, 16
SETTINGS = {
    "model_type": "ColBERT",
    "similarity_fn_name": "MaxSim",
    "query_prefix": "[unused0]",
    "document_prefix": "[unused1]",
    "query_length": QUERY_LENGTH,
    "document_length": DOCUMENT_LENGTH,
    "attend_to_expansion_tokens": False,
    "do_query_expansion": True,
    "skiplist_words": ["word230"],
}


def ids(text, marker, length):
    words = [69 + int(word[4:]) for word in text.split()]
    return [CLS, marker, *words[: length - 3], SEP]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def reference(model, project):
    """Vectors of the queries and of the documents, one text at a time."""
    import torch

    def vectors(row, real):
        mask = torch.tensor([[1] * real + [0] * (len(row) - real)])
        with torch.no_grad():
            states = model(input_ids=torch.tensor([row]), attention_mask=mask).last_hidden_state
        return unit(project(states[0].numpy()))

    queries, documents = [], []
    for text in QUERIES:
        row = ids(text, QUERY, QUERY_LENGTH)
        queries.append(vectors(row + [MASK] * (QUERY_LENGTH - len(row)), len(row)))
    for text in DOCUMENTS:
        row = ids(text, DOCUMENT, DOCUMENT_LENGTH)
        documents.append(vectors(row, len(row))[[token != STOP for token in row]])
    return queries, documents


def check(pipeline, model, project):
    queries, documents = reference(model, project)
    for found, wanted in (
        (pipeline.encode_queries(QUERIES), queries),
        (pipeline.encode_documents(DOCUMENTS, batch_size=2), documents),
    ):
        for got, each in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, each, atol=1e-5)
    ranked = pipeline([(text, DOCUMENTS) for text in QUERIES])
    for query, passages in zip(queries, ranked, strict=True):
        scores = [(query @ each.T).max(axis=1).sum() for each in documents]
        assert [p.place for p in passages] == np.argsort(scores)[::-1].tolist()
        wanted = sorted(scores, reverse=True)
        assert [p.score for p in passages] == pytest.approx(wanted, abs=1e-4)


def tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"[unused{i}]" for i in range(64)), *(f"word{i}" for i in range(231))]
    library = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    library.add_special_tokens(special)
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=library, **roles).save_pretrained(folder)


def dense(folder, weight, bias=None, activation="linear.Identity", residual=False):
    """A module as PyLate saves it."""
    folder.mkdir()
    config = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": bias is not None,
        "activation_function": f"torch.nn.modules.{activation}",
        "use_residual": residual,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias})
    save_file(tensors, folder / "model.safetensors")


RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(16, 32)).astype(np.float32)
SECOND, BIAS = RNG.normal(size=(16, 16)).astype(np.float32), np.ones(16, np.float32)
ONE, TWO = "1_Dense", "2_Dense"


def project(states):
    return states @ FIRST.T


def project_twice(states):
    first = states @ FIRST.T
    return np.tanh(first @ SECOND.T + BIAS) + first


@pytest.fixture(scope="module", params=["BertModel", "ModernBertModel"])
def made(request, tiny_model, tmp_path_factory):
    """A model, and its folder without modules."""
    changes = {"initializer_range": 0.2}
    if request.param == "ModernBertModel":
        changes |= {"attn_implementation": "eager"}
    model = tiny_model(request.param, **changes)
    folder = tmp_path_factory.mktemp("colbert") / "encoder"
    model.save_pretrained(folder)
    tokenizer(folder)
    return model, folder


def late(made, tmp_path, *, twice=False):
    """PyLate's folder."""
    folder = tmp_path / "colbert"
    shutil.copytree(made[1], folder)
    dense(folder / ONE, FIRST)
    kinds = {"": "sentence_transformers.models.Transformer", ONE: "pylate.models.Dense.Dense"}
    if twice:
        dense(folder / TWO, SECOND, BIAS, "activation.Tanh", residual=True)
        kinds[TWO] = kinds[ONE]
    modules = [
        {"idx": i, "path": path, "type": kind} for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(SETTINGS))
    return folder


@pytest.fixture
def bundle(tmp_path, quick):
    """``bundle(source, **options)``: the manifest, and its pipeline over the uncompressed graph."""

    def make(source, **options):
        out = tmp_path / "bundle"
        options = quick(**{"exporter": "dynamo"} | options)
        manifest = export(
            str(source), out, Budget(ratio=3), options=options, keep_original=tmp_path
        )
        return manifest, open_pipeline(tmp_path / "original" / "model.onnx", like=out)

    return make


@pytest.mark.parametrize("twice", [False, True])
def test_the_projection_is_in_the_graph(made, tmp_path, bundle, twice):
    manifest, pipeline = bundle(late(made, tmp_path, twice=twice))
    assert (manifest.task, manifest.pooling) == ("feature-extraction", Pooling("colbert", True))
    assert manifest.max_length == DOCUMENT_LENGTH
    assert pipeline.model.output.name == "token_embeddings"
    assert pipeline.model.output.shape[-1] == 16
    assert pipeline.projection == ()
    assert f"{ONE}/model.safetensors" not in manifest.files
    check(pipeline, made[0], project_twice if twice else project)

    packed = open_pipeline(tmp_path / "bundle")
    for near, vectors in zip(
        packed.encode_documents(DOCUMENTS), pipeline.encode_documents(DOCUMENTS), strict=True
    ):
        assert (near * vectors).sum(axis=1).min() > 0.5
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "`token_embeddings` is one vector a token" in card
    assert "sentence-transformers" not in card


def test_the_cards_program_runs(made, tmp_path, bundle, monkeypatch):
    bundle(late(made, tmp_path))
    card = (tmp_path / "bundle" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "bundle")
    scope = {}
    for part in card.split("```python\n")[1:]:
        exec(part.split("```")[0], scope)
    ((first, second),) = scope["results"]
    assert first.score >= second.score
    assert scope["vectors"][0].shape[1] == 16


@pytest.mark.skipif(not has_optimum(), reason="optimum is not installed")
def test_a_projection_beside_optimums_graph(made, tmp_path, bundle):
    manifest, pipeline = bundle(late(made, tmp_path, twice=True), exporter="optimum")
    assert {f"{ONE}/model.safetensors", f"{TWO}/model.safetensors"} <= set(manifest.files)
    assert len(pipeline.projection) == 2
    check(pipeline, made[0], project_twice)


def first_authors(made, tmp_path):
    """A folder of colbert-ir."""
    folder = tmp_path / "hf"
    shutil.copytree(made[1], folder)
    states = {f"bert.{k}": v for k, v in load_file(folder / "model.safetensors").items()}
    save_file(
        states | {"linear.weight": FIRST}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": QUERY_LENGTH,
        "doc_maxlen": DOCUMENT_LENGTH,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def bert(tiny_model, tmp_path):
    model = tiny_model("BertModel", initializer_range=0.2)
    folder = tmp_path / "bert"
    model.save_pretrained(folder)
    tokenizer(folder)
    return model, folder


def test_a_folder_of_colbert_ir(bert, tmp_path, bundle):
    manifest, pipeline = bundle(first_authors(bert, tmp_path))
    assert (manifest.pooling, manifest.max_length) == (Pooling("colbert", True), DOCUMENT_LENGTH)
    assert "artifact.metadata" in manifest.files
    query, document = pipeline.encode_queries(["word1"])[0], pipeline.encode_documents(["word1"])[0]
    assert (query.shape, document.shape) == ((QUERY_LENGTH, 16), (4, 16))
    queries, _ = reference(bert[0], project)
    for got, wanted in zip(pipeline.encode_queries(QUERIES), queries, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.skipif(not has_optimum(), reason="optimum is not installed")
def test_optimum_would_lose_colbert_irs_projection(bert, tmp_path, bundle):
    with pytest.raises(InputError, match="exports HF_ColBERT without its projection"):
        bundle(first_authors(bert, tmp_path), exporter="optimum")


@pytest.mark.parametrize("exporter", ["auto", "dynamo"])
def test_a_missing_projection_ends_the_export(made, tmp_path, bundle, exporter):
    folder = late(made, tmp_path)
    (folder / ONE / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"1_Dense/model\.safetensors is missing") as error:
        bundle(folder, exporter=exporter)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "bundle").exists()


def graph_of(graph, path, name, width):
    """An .onnx file with one output [batch, sequence, width]."""
    import onnx_ir as ir

    table = np.random.default_rng(1).normal(size=(300, width)).astype(np.float32)
    model = graph(
        f"(int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,{width}] {name})",
        f"{name} = Gather(table, input_ids)",
        table=table,
    )
    ir.save(model, path)
    return path


def test_an_onnx_file_of_pylates_exporter(graph, tmp_path, quick):
    tokenizer(tmp_path)
    (tmp_path / "onnx_config.json").write_text(json.dumps(SETTINGS | {"query_prefix_id": 5}))
    source = graph_of(graph, tmp_path / "model.onnx", "output", 16)
    out = tmp_path / "bundle"
    manifest = export(str(source), out, Budget(ratio=3), options=quick())
    assert manifest.pooling == Pooling("colbert", True)
    pipeline = open_pipeline(source, like=out)
    assert pipeline.model.output.name == "output"
    assert pipeline.encode_queries(["word1"])[0].shape == (QUERY_LENGTH, 16)


@pytest.mark.parametrize(("width", "late"), [(16, True), (32, False)])
def test_an_onnx_file_of_colbert_ir(graph, tmp_path, quick, width, late):
    tokenizer(tmp_path)
    config = {"architectures": ["HF_ColBERT"], "model_type": "bert", "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = graph_of(graph, tmp_path / "model.onnx", "last_hidden_state", width)
    told = []
    manifest = export(
        str(source), tmp_path / "bundle", Budget(ratio=3), options=quick(), tell=told.append
    )
    assert (manifest.pooling is not None) == late
    assert any("before their projection" in line for line in told) != late


def test_no_pooling_is_added(made, tmp_path, bundle):
    with pytest.raises(InputError, match="a ColBERT model keeps a vector for each token"):
        bundle(late(made, tmp_path), with_pooling=True)
