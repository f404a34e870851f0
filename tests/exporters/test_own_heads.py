"""Models whose output head is a matrix of its own: both are packed, each for what it does."""

import json

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from exporters import ExportOptions, export
from exporters.decoders import decoder_statistics
from exporters.sources.source import load_source, read_table
from exporters.sources.to_onnx import has_optimum
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import BudgetError, InputError
from toolkit.graph.contract import HEAD, is_head
from toolkit.graph.own_heads import find_own_heads, head_values
from toolkit.graph.rows import packed_head, packed_rows

ROWS, WIDTH = 400, 32
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
T5 = {"vocab_size": ROWS, "d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
MODELS = {
    "LlamaForCausalLM": SIZES | {"num_key_value_heads": 2},
    "PhiForCausalLM": SIZES,  # its head has a bias
    "GPTNeoXForCausalLM": SIZES,
    "Gemma2ForCausalLM": SIZES | {"num_key_value_heads": 2, "head_dim": 8},  # a soft cap
    "T5ForConditionalGeneration": T5,
    "BertForMaskedLM": SIZES,
}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
LLAMA = "LlamaForCausalLM"
HEAD_NAME, TABLE_NAME = "lm_head.weight", "model.embed_tokens.weight"
IDS = np.random.default_rng(0).integers(2, ROWS, (2, 7))
needs_optimum = pytest.mark.skipif(not has_optimum(), reason="needs optimum")


@pytest.fixture(scope="session")
def untied(tmp_path_factory):
    """``untied(architecture)``: a folder of a model whose head is its own; do not write into it."""
    folders = {}

    def save(architecture, **changes):
        key = (architecture, *changes.items())
        if key not in folders:
            kind = getattr(transformers, architecture)
            torch.manual_seed(0)
            settings = MODELS[architecture] | SPECIAL | {"tie_word_embeddings": False} | changes
            model = kind(kind.config_class(**settings)).eval()
            for name, parameter in model.named_parameters():
                if name.endswith("lm_head.bias"):  # zeros, as they are made
                    parameter.data = torch.linspace(-1, 1, ROWS)
            folders[key] = tmp_path_factory.mktemp("untied") / architecture
            model.save_pretrained(folders[key])
        return folders[key]

    return save


@pytest.fixture(scope="session")
def bundles(untied, kept, tmp_path_factory):
    """``bundles(architecture, exporter)``: the bundle's folder and its manifest."""
    made = {}

    def make(architecture, exporter="dynamo"):
        if (architecture, exporter) not in made:
            out = tmp_path_factory.mktemp("bundles") / "bundle"
            options = ExportOptions(
                config=LightTokenConfig(rounds=1),
                exporter=exporter,
                head_ratio=6,
                with_past=architecture.endswith("CausalLM"),
            )
            source = str(untied(architecture))
            made[architecture, exporter] = (
                out,
                export(source, out, Budget(ratio=5), options=options),
            )
        return made[architecture, exporter]

    return make


def constants(path):
    graph = ir.load(path).graph
    return {name: value.const_value for name, value in graph.initializers.items()}


@pytest.mark.parametrize("exporter", ["dynamo", pytest.param("optimum", marks=needs_optimum)])
@pytest.mark.parametrize("architecture", MODELS)
def test_table_and_head_are_packed_apart(bundles, architecture, exporter):
    out, manifest = bundles(architecture, exporter)
    (head,) = manifest.heads
    assert (manifest.packed_heads, manifest.tied_head) == (0, False)
    assert (head.rows, head.width, head.form) == (ROWS, WIDTH, "float")
    assert head.dense_bytes == head.original_bytes == ROWS * WIDTH * 4
    assert head.dense_bytes / head.bytes >= 6
    assert manifest.footprint.ratio >= 5
    held = constants(out / "model.onnx")
    assert head.bytes == sum(head.by_part.values())
    assert head.bytes == sum(t.nbytes for n, t in held.items() if n.startswith(f"{head.name}."))
    assert ROWS * WIDTH not in [tensor.size for tensor in held.values()]
    assert head.parity < 1e-4
    assert manifest.parity.rewrite < 1e-4
    assert read_manifest(out) == manifest
    card = (out / "README.md").read_text()
    assert "| output head | 0.05 MB | 0.01 MB |" in card
    assert "The output head is a matrix of its own" in card


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "PhiForCausalLM"])
def test_the_bundle_is_the_model_with_both_replaced(bundles, untied, architecture):
    """In torch, which knows nothing of the graph."""
    out, _ = bundles(architecture)
    model = getattr(transformers, architecture).from_pretrained(untied(architecture)).eval()
    path = out / "model.onnx"
    with torch.no_grad():
        rows = torch.from_numpy(packed_rows(path, ROWS))
        model.get_input_embeddings().weight.copy_(rows)
        model.get_output_embeddings().weight.copy_(torch.from_numpy(packed_head(path, ROWS)))
        wanted = model(torch.from_numpy(IDS)).logits.numpy()
    session = ort.InferenceSession(path)
    feeds = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    feeds["position_ids"] = np.tile(np.arange(IDS.shape[1]), (len(IDS), 1))
    asked = {entry.name: entry for entry in session.get_inputs()}
    for name, entry in asked.items():
        if name.startswith("past"):
            heads, width = entry.shape[1], entry.shape[3]
            feeds[name] = np.zeros((len(IDS), heads, 0, width), np.float32)
    given = {name: feeds[name] for name in asked if name in feeds}
    (got,) = session.run(["logits"], given)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    keep = given | {"num_logits_to_keep": np.array(1, np.int64)}
    (last,) = session.run(["logits"], keep)
    np.testing.assert_allclose(last, wanted[:, -1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "fp16", "target": "webgpu", "head": "packed"},
        {"weights": "int8"},
        {"weights": "int4"},
        {"decode": "inline"},
        {"format": "ort"},
    ],
)
def test_beside_other_forms_of_weights(untied, quick, tmp_path, options):
    small = {"group_size": 16} if options.get("weights") == "int4" else {}
    manifest = export(
        str(untied(LLAMA)), tmp_path / "out", Budget(ratio=5), options=quick(**options, **small)
    )
    (head,) = manifest.heads
    assert (head.parity is None) == (manifest.decode == "inline")
    if "format" not in options:
        held = constants(tmp_path / "out" / manifest.model)
        assert head.name not in held
        assert f"{head.name}.stages.0.codes" in held


@pytest.mark.parametrize("head", ["nbits", "dense"])
def test_other_words_leave_it(untied, quick, tmp_path, head):
    out = tmp_path / "out"
    manifest = export(str(untied(LLAMA)), out, Budget(ratio=5), options=quick(head=head))
    assert manifest.heads == ()
    assert ROWS * WIDTH in [tensor.size for tensor in constants(out / "model.onnx").values()]


@pytest.fixture
def calls(monkeypatch):
    """What ``compress`` is called with for table and head, and what of it came out."""
    found = {}

    def note(place):
        def run(matrix, budget, **options):
            found[place] = matrix, budget, options
            return compress(matrix, Budget(ratio=4), config=LightTokenConfig(rounds=0))

        monkeypatch.setattr(f"exporters.steps.{place}.compress", run)
        # Such small tables cannot keep to the budgets of large ones.
        once = lambda budget, rows, width, make, heads: make(budget)  # noqa: E731
        monkeypatch.setattr(f"exporters.steps.{place}.compress_within", once)

    note("compress")
    note("compress_heads")
    return found


def test_each_is_compressed_for_what_it_does(untied, calls, tmp_path):
    folder = untied(LLAMA)
    export(str(folder), tmp_path / "out")
    stored = load_file(folder / "model.safetensors")
    statistics = decoder_statistics(load_source(str(folder), tmp_path))
    table, budget, options = calls["compress"]
    np.testing.assert_array_equal(table, stored[TABLE_NAME])
    assert budget == Budget(ratio=12)
    assert not options["unbiased"]
    assert options["config"] is None  # no head reads it
    wanted = statistics.importance(head=False)
    np.testing.assert_allclose(options["importance"], wanted, rtol=1e-4)
    wanted = statistics.metric(head=False)
    np.testing.assert_allclose(options["metric"], wanted, rtol=1e-3, atol=1e-9)
    head, budget, options = calls["compress_heads"]
    np.testing.assert_array_equal(head, stored[HEAD_NAME])
    assert budget == Budget(ratio=12)
    assert options["unbiased"]
    assert options["config"].additive
    wanted = statistics.importance(lookup=False)
    np.testing.assert_allclose(options["importance"], wanted, rtol=1e-4)
    wanted = statistics.metric(head=True, lookup=False)
    np.testing.assert_allclose(options["metric"], wanted, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(
    ("asked", "budget"),
    [
        ({}, Budget(ratio=25)),
        ({"head_ratio": 4.5}, Budget(ratio=4.5)),
        ({"head_bytes": 12_000}, Budget(max_bytes=12_000)),
    ],
)
def test_an_onnx_file_has_the_tokenizers_prior(untied, calls, tmp_path, asked, budget):
    """And an encoder's head the ratio of encoders."""
    source = load_source(str(untied("BertForMaskedLM")), tmp_path).path
    (source.parent / "config.json").write_text(
        (untied("BertForMaskedLM") / "config.json").read_text()
    )
    export(str(source), tmp_path / "out", options=ExportOptions(**asked))
    _, given, options = calls["compress_heads"]
    assert given == budget
    assert options["importance"] is None  # no tokenizer beside it
    assert "metric" not in options
    assert calls["compress"][1] == Budget(ratio=25)


def test_the_head_of_a_decoder_of_onnx_gets_unbiased_rows(untied, calls, tmp_path):
    """Nothing was measured of it, so that every direction counts alike."""
    source = load_source(str(untied(LLAMA)), tmp_path).path
    export(str(source), tmp_path / "out", Budget(ratio=12))
    _, _, options = calls["compress_heads"]
    assert options["unbiased"]
    np.testing.assert_array_equal(options["metric"], np.eye(32))
    _, _, options = calls["compress"]
    assert "metric" not in options  # the table is only looked up


def test_a_size_is_for_a_head_of_its_own(untied, tiny_folder, quick, tmp_path):
    tied = str(tiny_folder("GPT2LMHeadModel"))
    with pytest.raises(
        InputError, match=r"of this model its head reads the table, which has --rat"
    ):
        export(tied, tmp_path / "out", Budget(ratio=5), options=quick(head_ratio=9))
    with pytest.raises(InputError, match="of this model it has none"):
        export(str(tiny_folder("BertModel")), tmp_path / "out", options=quick(head_bytes=90_000))
    with pytest.raises(InputError, match="for a packed head, and this one is dense"):
        export(tied, tmp_path / "out", options=quick(head_ratio=9, head="dense"))
    with pytest.raises(
        InputError, match=r"head_ratio \(9\) and head_bytes \(10\) exclude .*; give one of them"
    ):
        quick(head_ratio=9, head_bytes=10)
    with pytest.raises(InputError, match=r"^head: ratio must be a number from 1 up, got 0.5"):
        quick(head_ratio=0.5)
    with pytest.raises(BudgetError, match=r"^output head .*, 400 x 32: .*it has --head-ratio"):
        export(str(untied(LLAMA)), tmp_path / "out", Budget(ratio=5), options=quick(head_ratio=900))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def called_tied(untied, tmp_path):
    """``called_tied(head, architecture)``: config.json says that the head is the table; the file
    holds ``head(table)`` for it."""

    def save(head, architecture=LLAMA):
        source, folder = untied(architecture), tmp_path / "called-tied"
        folder.mkdir()
        config = json.loads((source / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
        tensors = load_file(source / "model.safetensors")
        table = tensors[TABLE_NAME if architecture == LLAMA else "shared.weight"]
        tensors[HEAD_NAME] = head(table).contiguous().clone()
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder, tensors

    return save


def other(table):
    changed = table.clone()
    changed[-1, -1] += 1e-3
    return changed


def test_two_that_differ_are_never_tied(called_tied, quick, tmp_path):
    folder, tensors = called_tied(other)
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=5), options=quick())
    assert (len(manifest.heads), manifest.packed_heads) == (1, 0)
    (own,) = find_own_heads(ir.load(load_source(str(folder), tmp_path).path).graph)
    np.testing.assert_array_equal(head_values(own), tensors[HEAD_NAME])
    found = read_table(str(folder))
    np.testing.assert_array_equal(found.values, tensors[TABLE_NAME])
    np.testing.assert_array_equal(found.head, tensors[HEAD_NAME])


def test_two_that_are_equal_are_one(called_tied, untied, quick, tmp_path):
    folder, _ = called_tied(lambda table: table)
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=5), options=quick())
    assert (manifest.heads, manifest.packed_heads) == ((), 1)
    assert read_table(str(folder)).head is None
    config = json.loads((folder / "config.json").read_text())  # and called two, equal all the same
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    manifest = export(str(folder), tmp_path / "again", Budget(ratio=5), options=quick())
    assert (manifest.heads, manifest.packed_heads) == ((), 1)
    assert read_table(str(folder)).head is None


@needs_optimum
def test_optimum_would_tie_them(called_tied, quick, tmp_path):
    folder, _ = called_tied(other)
    named = f"says that {HEAD_NAME} is {TABLE_NAME}, and its files hold two that differ; optimum"
    with pytest.raises(InputError, match=named) as error:
        export(str(folder), tmp_path / "out", options=quick(exporter="optimum"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_encoder_decoder_scales_by_what_the_config_says(called_tied, quick, tmp_path):
    folder, _ = called_tied(other, "T5ForConditionalGeneration")
    with pytest.raises(
        InputError, match=r"lm_head.weight is shared.weight, .*that differ; set tie"
    ):
        export(str(folder), tmp_path / "out", options=quick(exporter="dynamo"))


def test_an_onnx_file_is_what_its_values_say(untied, quick, tmp_path):
    """config.json beside it may say what it likes."""
    source = load_source(str(untied(LLAMA)), tmp_path).path
    config = json.loads((untied(LLAMA) / "config.json").read_text())
    said = json.dumps(config | {"tie_word_embeddings": True})
    (source.parent / "config.json").write_text(said)
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=quick())
    assert (len(manifest.heads), manifest.packed_heads) == (1, 0)
    assert read_table(str(source)).head.shape == (ROWS, WIDTH)


def test_a_head_is_read_back_as_it_was_packed(graph, pack_table, tmp_path):
    from exporters.passes.compress_head import CompressHead

    rng = np.random.default_rng(0)
    embedding = pack_table(ROWS, WIDTH, dense=[(ROWS, 20, 5)], columns=[(60, 8)], block=16)
    model = graph(
        f"(int64[b,s] ids) => (float[b,s,{ROWS}] logits)",
        "x = Gather(t, ids) logits = MatMul(x, m)",
        t=rng.normal(size=(ROWS, WIDTH)).astype(np.float32),
        m=rng.normal(size=(WIDTH, ROWS)).astype(np.float32),
    )
    ir.save(model, tmp_path / "dense.onnx")
    with pytest.raises(InputError, match=f"no {HEAD} node of {ROWS} rows"):
        packed_head(tmp_path / "dense.onnx", ROWS)
    CompressHead("m", embedding)(model)
    ir.save(model, tmp_path / "packed.onnx")
    assert any(map(is_head, model.graph))
    got, wanted = packed_head(tmp_path / "packed.onnx", ROWS), embedding.dense()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert isinstance(embedding, CompressedEmbedding)
