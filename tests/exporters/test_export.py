"""From a source to a bundle: right, whole, the same every time; or nothing at all."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters import ExportOptions, export
from exporters.sources.prior import token_importance
from exporters.sources.to_onnx import has_optimum
from runtime import open_session
from toolkit import Budget, LightTokenConfig, compress
from toolkit.bundle.manifest import (
    BUNDLE_VERSION,
    Pooling,
    describe_files,
    manifest_digest,
    read_manifest,
    verify_files,
)
from toolkit.errors import BudgetError, InputError
from toolkit.files import sha256
from toolkit.graph.tables import find_token_table
from toolkit.table.components import DenseDecoder

needs_optimum = pytest.mark.skipif(not has_optimum(), reason="needs optimum")
IDS = np.random.default_rng(4).integers(0, 300, (4, 13))
FEEDS = {"input_ids": IDS, "attention_mask": (np.arange(13) < np.array([[13], [2], [7], [1]])) + 0}
FEEDS["token_type_ids"] = IDS % 2
PLAIN = "(int64[b,s] input_ids) => (float[b,s,5] y)", "x = Gather(t, input_ids) y = MatMul(x, w)"
LARGE = np.random.default_rng(6).normal(size=(2000, 24)).astype(np.float32)  # learns a dense code
TABLE = np.random.default_rng(5).normal(size=(400, 24)).astype(np.float32)


def outputs(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: FEEDS[entry.name] for entry in session.get_inputs()})


@pytest.fixture
def onnx_file(graph, tmp_path):
    """``onnx_file()``: a tiny .onnx in a folder of its own."""

    def write(table=TABLE, signature=PLAIN[0], body=PLAIN[1], **settings):
        path = tmp_path / "source" / "tiny.onnx"
        path.parent.mkdir()
        model = graph(signature, body, t=table, w=TABLE[:24, :5].copy(), **settings)
        ir.save(model, path)
        return path

    return write


def left_beside(out):
    """What an export left beside its bundle, hidden or not."""
    return {path.name for path in out.parent.iterdir()} - {"source"}


def test_the_manifest_lists_every_file_with_its_digest(exported):
    manifest = read_manifest(exported.bundle)
    assert manifest == exported.manifest
    assert manifest.files == describe_files(exported.bundle)
    verify_files(exported.bundle, manifest)
    assert set(manifest.files) == {
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.onnx",
        "model.onnx.data",
        "modules.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_manifest_tells_what_was_made_of_what(exported):
    manifest = exported.manifest
    assert (manifest.task, manifest.exporter, manifest.decode) == (
        "feature-extraction",
        "dynamo",
        "function",
    )
    assert (manifest.rows, manifest.width, manifest.tied_head) == (300, 32, False)
    assert (manifest.pooling, manifest.max_length) == (Pooling("mean", normalize=True), 32)
    assert (manifest.ids_input, manifest.source.name) == ("input_ids", "tiny-encoder")
    assert manifest.source.sha256 == sha256(exported.source / "model.safetensors")
    assert {"lighttoken", "onnxruntime", "torch"} <= set(manifest.made_with)


def test_the_figures_are_those_of_the_files(exported):
    footprint = exported.manifest.footprint
    files = [exported.bundle / "model.onnx", exported.bundle / "model.onnx.data"]
    assert footprint.model_bytes == sum(path.stat().st_size for path in files)
    assert footprint.dense_bytes == 300 * 32 * 4
    assert footprint.ratio == footprint.dense_bytes / footprint.embedding_bytes >= 6
    assert footprint.bits_per_parameter == 8 * footprint.embedding_bytes / (300 * 32)
    graph = ir.load(files[0]).graph
    held = sum(
        value.const_value.nbytes
        for name, value in graph.initializers.items()
        if name.startswith(f"{exported.manifest.table}.")
    )
    assert footprint.embedding_bytes == sum(footprint.by_part.values()) == held
    originals = exported.original, exported.original.with_name("model.onnx.data")
    assert footprint.original_model_bytes == sum(path.stat().st_size for path in originals)
    assert footprint.model_bytes < footprint.original_model_bytes


def test_the_outputs_are_the_originals_with_its_table_replaced(exported, quick, tmp_path):
    original = ir.load(exported.original)
    table = find_token_table(original.graph).value
    embedding = compress(
        table.const_value.numpy(),
        exported.budget,
        importance=token_importance(exported.source / "tokenizer.json", 300),
        config=quick().config,
    )
    table.const_value = ir.tensor(embedding.dense(), name=table.name)
    ir.save(original, tmp_path / "replaced.onnx", external_data="replaced.data")
    (got,), (wanted,) = (
        outputs(exported.bundle / "model.onnx"),
        outputs(tmp_path / "replaced.onnx"),
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert exported.manifest.parity.rewrite < 1e-4
    assert np.abs(got - outputs(exported.original)[0]).max() > 1e-3  # it is compressed


ALONE = """
import sys
class Blocker:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("toolkit", "exporters", "runtime", "torch", "onnx_ir"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
feeds = np.load(sys.argv[2])
np.savez(sys.argv[3], *session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()}))
"""


def test_plain_onnxruntime_runs_a_bundle_without_this_project(exported, tmp_path):
    np.savez(tmp_path / "feeds.npz", **FEEDS)
    files = [exported.bundle / "model.onnx", tmp_path / "feeds.npz", tmp_path / "rows.npz"]
    command = [sys.executable, "-I", "-c", ALONE, *map(str, files)]
    subprocess.run(command, cwd=tmp_path, check=True)
    with np.load(tmp_path / "rows.npz") as rows:
        np.testing.assert_array_equal(rows["arr_0"], outputs(files[0])[0])


def test_inlined_a_bundle_gives_the_same_bits(exported, quick, tmp_path):
    out, other = tmp_path / "inline", tmp_path / "function"
    export(str(exported.source), out, exported.budget, options=quick(decode="inline"))
    export(str(exported.source), other, exported.budget, options=quick(fuse=False))
    np.testing.assert_array_equal(outputs(out / "model.onnx")[0], outputs(other / "model.onnx")[0])
    model = ir.load(out / "model.onnx")
    assert not model.functions
    assert set(model.opset_imports) == {""}


@pytest.mark.usefixtures("made_anew")
def test_the_same_seed_gives_the_same_bytes(exported, quick, tmp_path):
    out = tmp_path / "again"
    export(str(exported.source), out, exported.budget, options=quick())
    assert read_manifest(out) == exported.manifest
    assert sha256(out / "lighttoken.json") == sha256(exported.bundle / "lighttoken.json")


def test_a_learned_table_is_the_same_for_the_same_seed_only(onnx_file, quick, tmp_path):
    source, digests = str(onnx_file(LARGE)), []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export(source, tmp_path / name, Budget(ratio=5), options=quick(seed=seed))
        files = sorted(path for path in (tmp_path / name).iterdir())
        digests.append([sha256(path) for path in files])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    manifests = [read_manifest(tmp_path / name).files for name in "ac"]
    assert manifests[0]["model.onnx.data"] != manifests[1]["model.onnx.data"]


def test_an_onnx_file_becomes_a_bundle(onnx_file, quick, tmp_path):
    source, out = onnx_file(LARGE), tmp_path / "out"
    before = source.read_bytes()
    manifest = export(str(source), out, Budget(ratio=5), options=quick(seed=3, name="mine"))
    assert (manifest.exporter, manifest.source.kind, manifest.source.name) == (
        "none",
        "onnx",
        "mine",
    )
    assert (manifest.table, manifest.seed) == ("t", 3)
    verify_files(out, read_manifest(out))
    embedding = compress(LARGE, Budget(ratio=5), seed=3, config=quick().config)
    assert isinstance(embedding.stages[0].decoder, DenseDecoder)
    (got,) = outputs(out / "model.onnx")
    wanted = embedding.lookup(IDS) @ TABLE[:24, :5]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert source.read_bytes() == before
    assert left_beside(out) == {"out"}


TIED = {
    "signature": "(int64[b,s] input_ids) => (float[b,s,400] logits)",
    "body": "x = Gather(t, input_ids) h = Transpose<perm = [1, 0]>(t) logits = MatMul(x, h)",
}


@pytest.mark.parametrize("decode", ["function", "inline"])
def test_a_head_that_stays_dense_is_told(onnx_file, quick, tmp_path, decode):
    source, out = onnx_file(**TIED), tmp_path / "out"
    options = quick(decode=decode, head="dense")
    manifest = export(str(source), out, Budget(ratio=5), options=options)
    assert (manifest.tied_head, manifest.packed_heads) == (True, 0)
    assert "keeps it in float32" in (out / "README.md").read_text()
    dense = ir.load(out / "model.onnx").graph.initializers["t"].const_value.numpy()
    np.testing.assert_array_equal(dense, TABLE)


@pytest.mark.parametrize("decode", ["function", "inline"])
def test_a_head_reads_the_packed_table_too(onnx_file, quick, tmp_path, decode):
    source, out = onnx_file(LARGE, **TIED), tmp_path / "out"
    manifest = export(str(source), out, Budget(ratio=5), options=quick(decode=decode))
    assert (manifest.tied_head, manifest.packed_heads) == (False, 1)
    assert "reads the packed table too" in (out / "README.md").read_text()
    model = ir.load(out / "model.onnx")
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values())
    small = 24 * 5 * 4  # w, which the model does not use
    assert stored <= manifest.footprint.embedding_bytes + small
    config = replace(quick().config, additive=True)  # made for heads
    embedding = compress(LARGE, Budget(ratio=5), config=config)
    (got,) = outputs(out / "model.onnx")
    wanted = embedding.logits(embedding.lookup(IDS))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("exporter", ["dynamo", pytest.param("optimum", marks=needs_optimum)])
@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "GPT2LMHeadModel"])
def test_tied_transformers_hold_one_packed_table(
    tiny_folder, quick, tmp_path, architecture, exporter
):
    source, out = tiny_folder(architecture), tmp_path / "out"
    manifest = export(str(source), out, Budget(ratio=5), options=quick(exporter=exporter))
    assert (manifest.tied_head, manifest.packed_heads) == (False, 1)
    assert manifest.task in ("fill-mask", "text-generation")
    dense = manifest.rows * manifest.width
    sizes = [v.const_value.size for v in ir.load(out / "model.onnx").graph.initializers.values()]
    assert dense not in sizes


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "GPT2LMHeadModel"])
@pytest.mark.parametrize("body", ["fp32", "int4"])
def test_a_head_of_few_bits_leaves_no_dense_table(tiny_folder, quick, tmp_path, architecture, body):
    out = tmp_path / "out"
    options = quick(head="nbits", weights=body, group_size=16)
    manifest = export(str(tiny_folder(architecture)), out, Budget(ratio=6), options=options)
    assert (manifest.packed_heads, manifest.tied_head, manifest.body) == (0, False, body)
    model = ir.load(out / "model.onnx")
    sizes = [v.const_value.size for v in model.graph.initializers.values()]
    assert manifest.rows * manifest.width not in sizes
    heads = [
        n for n in model.graph if n.op_type == "MatMulNBits" and n.attributes["N"].value == 300
    ]
    assert len(heads) == 1
    others = [n for n in model.graph if n.op_type == "MatMulNBits" and n not in heads]
    assert bool(others) == (body == "int4")
    assert 0 < manifest.parity.compression < 1


def test_an_unknown_head_is_refused(quick):
    with pytest.raises(
        InputError, match="head 'int3' is unknown; choose from packed, nbits, dense"
    ):
        quick(head="int3")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_tables_of_other_widths_keep_their_type(onnx_file, quick, tmp_path, dtype):
    kind = {np.float16: "float16", np.float64: "double"}[dtype]
    source = onnx_file(
        TABLE.astype(dtype),
        f"(int64[b,s] input_ids) => ({kind}[b,s,24] y)",
        "y = Gather(t, input_ids)",
    )
    export(str(source), tmp_path / "out", Budget(ratio=5), options=quick())
    assert outputs(tmp_path / "out" / "model.onnx")[0].dtype == dtype


def test_progress_rises_to_one(onnx_file, quick, tmp_path):
    said = []
    export(
        str(onnx_file()),
        tmp_path / "out",
        Budget(ratio=5),
        options=quick(),
        progress=lambda share, what: said.append((share, what)),
    )
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert (shares[0], said[-1]) == (0.0, (1.0, "done"))


def test_an_out_that_exists_is_left_alone(onnx_file, quick, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists; pass --force"):
        export(str(onnx_file()), out, Budget(ratio=5), options=quick())
    with pytest.raises(InputError, match="is no bundle, so --force does not replace it"):
        export(str(tmp_path / "source/tiny.onnx"), out, Budget(ratio=5), force=True)
    assert (out / "mine.txt").read_text() == "mine"


def manifest_of(out, names):
    """Let the manifest name these files too, with their content where they are there."""
    path = out / "lighttoken.json"
    data = json.loads(path.read_text())
    for name in names:
        here = (out / name).is_file()
        size = (out / name).stat().st_size if here else 1
        digest = sha256(out / name) if here else "0" * 64
        data["files"][name] = {"bytes": size, "sha256": digest}
    del data["digest"]
    path.write_text(json.dumps(data | {"digest": manifest_digest(data)}))


FOREIGN = {
    ".git/HEAD": ".git",
    "notes.txt": "notes.txt",
    "sub/notes.txt": "sub",
    "empty/": "empty",
    "link": "link",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_force_replaces_no_bundle_that_holds_more(exported, onnx_file, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lighttoken.json").write_text(exported.manifest.to_json())
    manifest_of(out, ["link"] if name == "link" else [])
    if name == "link":
        (out / name).symlink_to("lighttoken.json")
    elif name.endswith("/"):
        (out / name).mkdir()
    else:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    before = sorted(out.rglob("*"))
    with pytest.raises(InputError, match=f"out holds {re.escape(FOREIGN[name])}, which lighttoken"):
        export(str(onnx_file()), out, Budget(ratio=5), force=True)
    assert sorted(out.rglob("*")) == before
    assert left_beside(out) == {"out"}


def test_force_replaces_nothing_where_the_manifest_is_damaged(onnx_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lighttoken.json").write_text("{")
    with pytest.raises(InputError, match=r"is damaged.*cannot tell which files are the bundle's"):
        export(str(onnx_file()), out, Budget(ratio=5), force=True)
    assert (out / "lighttoken.json").read_text() == "{"


def test_a_folder_for_the_original_keeps_what_is_in_it(tiny_folder, quick, tmp_path):
    source, keep = str(tiny_folder("BertModel")), tmp_path / "keep"
    (keep / "original").mkdir(parents=True)
    (keep / "original" / "model.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"original holds model.onnx, which lighttoken did not"):
        export(source, tmp_path / "out", Budget(ratio=5), options=quick(), keep_original=keep)
    assert (keep / "original" / "model.onnx").read_text() == "mine"
    other = tmp_path / "other"
    for number in (1, 2):
        out = tmp_path / f"out{number}"
        export(source, out, Budget(ratio=5), options=quick(), keep_original=other)
    assert (other / "original" / "model.onnx").stat().st_size > 1000
    with pytest.raises(BudgetError):
        export(source, tmp_path / "out", Budget(ratio=5000), keep_original=tmp_path / "new")
    assert not (tmp_path / "new" / "original").exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_source_is_never_replaced(onnx_file, tmp_path, force):
    source = onnx_file()
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard")
    for out in (source, source.parent / ".." / source.parent.name / source.name):
        with pytest.raises(InputError, match="is a file, which is not replaced"):
            export(str(source), out, Budget(ratio=5), force=force)
    with pytest.raises(InputError, match="is a file, which is not replaced"):
        export(str(source), tmp_path / "hard", Budget(ratio=5), force=force)
    with pytest.raises(InputError, match="is a link to"):
        export(str(source), tmp_path / "link", Budget(ratio=5), force=force)
    assert source.read_bytes() == before


def test_a_bundle_that_is_the_source_is_not_replaced(exported, onnx_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lighttoken.json").write_text(exported.manifest.to_json())
    onnx_file().rename(out / "model.onnx")
    manifest_of(out, ["model.onnx"])
    for source in (out, out / "model.onnx"):
        with pytest.raises(InputError, match="which is read; choose another name"):
            export(str(source), out, Budget(ratio=5), force=True)
    assert (out / "model.onnx").exists()


@pytest.mark.parametrize("way", ["{out}/notes.txt", "../out/notes.txt"])
def test_a_manifest_cannot_call_a_users_file_its_own(exported, onnx_file, tmp_path, way):
    out = tmp_path / "out"
    out.mkdir()
    (out / "lighttoken.json").write_text(exported.manifest.to_json())
    (out / "notes.txt").write_text("mine")
    manifest_of(out, [way.format(out=out)])
    with pytest.raises(InputError, match="outside of the bundle"):
        export(str(onnx_file()), out, Budget(ratio=5), options=ExportOptions(), force=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_changed_file_of_a_bundle_is_the_users(onnx_file, quick, tmp_path):
    """Whether they wrote into a card, or gave a file a name that a stranger's manifest has."""
    source, out = str(onnx_file()), tmp_path / "out"
    export(source, out, Budget(ratio=5), options=quick())
    card = out / "README.md"
    written = card.read_text()
    card.write_text("mine")
    with pytest.raises(
        InputError, match=r"out holds README\.md, which lighttoken did not write as"
    ):
        export(source, out, Budget(ratio=5), options=quick(), force=True)
    assert card.read_text() == "mine"
    card.write_text(written)
    manifest_of(out, ["notes.txt"])
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out holds notes\.txt, which lighttoken did not write"):
        export(source, out, Budget(ratio=5), options=quick(), force=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_force_replaces_a_bundle(onnx_file, quick, tmp_path):
    source, out = str(onnx_file()), tmp_path / "out"
    export(source, out, Budget(ratio=5), options=quick())
    (out / "tokenizer").mkdir()
    (out / "tokenizer" / "stale.txt").write_text("of the old one")
    manifest_of(out, ["tokenizer/stale.txt"])
    manifest = export(source, out, Budget(ratio=4), options=quick(), force=True)
    assert describe_files(out) == manifest.files
    assert left_beside(out) == {"out"}


STAGES = [
    "load.load_source",
    "compress.compress",
    "rewrite.CompressTable",
    "verify.check_model",
    "write.write_bundle",
]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
@pytest.mark.parametrize("stage", STAGES)
def test_whatever_ends_an_export_leaves_nothing_behind(
    onnx_file, quick, tmp_path, monkeypatch, stage, error
):
    source, out = str(onnx_file()), tmp_path / "out"

    def end(*_, **__):
        raise error

    monkeypatch.setattr(f"exporters.steps.{stage}", end)
    with pytest.raises(error):
        export(source, out, Budget(ratio=5), options=quick())
    assert left_beside(out) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_ends_a_forced_export_keeps_the_old_bundle(
    exported, onnx_file, quick, tmp_path, monkeypatch, stage
):
    source, out = str(onnx_file()), tmp_path / "out"
    out.mkdir()
    (out / "lighttoken.json").write_text(exported.manifest.to_json())
    monkeypatch.setattr(f"exporters.steps.{stage}", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(source, out, Budget(ratio=5), options=quick(), force=True)
    assert [path.name for path in out.iterdir()] == ["lighttoken.json"]
    assert left_beside(out) == {"out"}


def refused(error, source, out, match, *, ratio=5, **options):
    with pytest.raises(error, match=match) as raised:
        export(str(source), out, Budget(ratio=ratio), **options)
    assert "\n" not in str(raised.value)
    assert left_beside(out) == set()


def test_a_budget_out_of_reach_leaves_nothing(onnx_file, tmp_path):
    refused(BudgetError, onnx_file(), tmp_path / "out", "too few", ratio=500)


def test_a_table_with_nan_is_refused(onnx_file, tmp_path):
    table = TABLE.copy()
    table[7, 3] = np.nan
    refused(InputError, onnx_file(table), tmp_path / "out", "row 7 holds NaN")


def test_a_model_of_images_is_refused(onnx_file, tmp_path):
    source = onnx_file(
        signature="(float[b,24] pixels) => (float[b,5] y)", body="y = MatMul(pixels, w)"
    )
    refused(InputError, source, tmp_path / "out", r"no token table.*\(pixels\)")


def test_an_old_opset_is_refused(onnx_file, tmp_path):
    refused(InputError, onnx_file(opset=12), tmp_path / "out", "opset 12, the packed layer needs")


def test_a_damaged_tokenizer_is_refused(onnx_file, tmp_path):
    source = onnx_file()
    (source.parent / "tokenizer.json").write_text("{")
    refused(InputError, source, tmp_path / "out", r"tokenizer\.json is damaged")


BAG = """start = Shape(input_ids) pair = Concat<axis = 0>(offsets, start)
    one = Constant<value_ints = [1]>() zero = Constant<value_ints = [0]>()
    most = Constant<value_ints = [9223372036854775807]>()
    ends = Slice(pair, one, most, zero) rows = Gather(t, input_ids)
    seen = Shape(offsets) texts = Squeeze(seen)
    yes = Constant<value = bool {1}>()
    y = Loop(texts, yes)<body = g (int64 i, bool on) => (bool next, float[d] mean) {
        next = Identity(on) a = Gather(offsets, i) b = Gather(ends, i)
        from = Unsqueeze(a, zero) to = Unsqueeze(b, zero)
        bag = Slice(rows, from, to, zero) mean = ReduceMean<keepdims = 0>(bag, zero)
    }>"""


@pytest.mark.parametrize("decode", ["function", "inline"])
def test_flat_ids_with_offsets_are_checked_and_packed(onnx_file, quick, tmp_path, decode):
    """An EmbeddingBag, as static embeddings have it: texts stand one after the other."""
    signature = "(int64[num_tokens] input_ids, int64[texts] offsets) => (float[texts,d] y)"
    source = onnx_file(signature=signature, body=BAG)
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=quick(decode=decode))
    assert manifest.parity.rewrite <= 1e-6
    assert manifest.parity.compression > 0
    ids = np.array([4, 5, 6, 7, 8, 9, 10])
    feeds = {"input_ids": ids, "offsets": np.array([0, 2, 3])}
    session = open_session(tmp_path / "out", op=False)
    got = session.run(feeds)["y"]
    rows = session.run({"input_ids": ids, "offsets": np.arange(len(ids))})["y"]
    wanted = np.stack([rows[a:b].mean(axis=0) for a, b in ((0, 2), (2, 3), (3, 7))])
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("shape", ["n", "b,c,s", "b,4,s", "2,3,8"])
def test_ids_of_any_rank_are_packed(onnx_file, quick, tmp_path, shape):
    source = onnx_file(
        signature=f"(int64[{shape}] input_ids, int64[{shape}] attention_mask) "
        f"=> (float[{shape},24] y)",
        body="""x = Gather(t, input_ids) m = Cast<to = 1>(attention_mask)
            last = Constant<value_ints = [-1]>() c = Unsqueeze(m, last) y = Mul(x, c)""",
    )
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=quick())
    assert manifest.parity.rewrite <= 1e-6
    assert manifest.parity.compression > 0


@pytest.mark.parametrize("target", ["cpu", "webgpu", "qnn"])
def test_padding_of_zeros_adds_nothing(onnx_file, quick, tmp_path, target):
    """In a model that sums rows without a mask."""
    table = np.random.default_rng(0).normal(size=(700, 24)).astype(np.float32)
    table[1] = 0
    source = onnx_file(
        signature="(int64[b,s] input_ids) => (float[b,24] y)",
        body="x = Gather(t, input_ids) one = Constant<value_ints = [1]>() "
        "y = ReduceSum<keepdims = 0>(x, one)",
        table=table,
    )
    sizes = {"batch": 1, "sequence": 12} if target == "qnn" else {}
    options = quick(target=target, **sizes)
    export(str(source), tmp_path / "out", Budget(ratio=5), options=options)
    session = open_session(tmp_path / "out", op=False)

    def total(*ids):
        return session.run({"input_ids": np.array([ids])})["y"]

    assert total(5, 6, 7, *[1] * 9).any()
    assert not total(*[1] * 12).any()
    assert not total(*[1 - 700] * 12).any()


def test_an_id_of_no_dimension_is_refused(onnx_file, quick, tmp_path):
    source = onnx_file(
        signature="(int64 input_ids) => (float[24] y)", body="y = Gather(t, input_ids)"
    )
    refused(InputError, source, tmp_path / "out", "a single number", options=quick())


def test_an_out_without_a_parent_is_refused(onnx_file, tmp_path):
    source = onnx_file()
    with pytest.raises(InputError, match="create it first"):
        export(str(source), tmp_path / "no" / "out", Budget(ratio=5))
    assert not (tmp_path / "no").exists()


def test_an_unknown_form_of_the_decoder_is_refused():
    with pytest.raises(InputError, match="'kernel' is unknown; choose from function, inline"):
        ExportOptions(decode="kernel")


def test_an_unknown_method_is_refused(onnx_file, quick, tmp_path):
    refused(InputError, onnx_file(), tmp_path / "out", "method 'pq'", options=quick(method="pq"))


def test_the_manifest_is_json_that_anyone_can_read(exported):
    data = json.loads((exported.bundle / "lighttoken.json").read_text())
    assert data["footprint"]["ratio"] == exported.manifest.footprint.ratio
    assert data["version"] == BUNDLE_VERSION
    assert str(Path.home()) not in json.dumps(data)
    assert str(exported.source) not in json.dumps(data)


SENTENCES = ["A cat sleeps.", "Stock prices fell sharply on Monday after a weak report.", "Hello"]


@pytest.mark.slow
def test_both_roads_to_onnx_give_the_same_minilm(minilm_folder, tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    feeds = {
        "input_ids": np.array([text.ids for text in encoded]),
        "attention_mask": np.array([text.attention_mask for text in encoded]),
        "token_type_ids": np.array([text.type_ids for text in encoded]),
    }
    options = ExportOptions(config=LightTokenConfig(rounds=1))
    rows = []
    for exporter in ("dynamo", "optimum"):
        out = tmp_path / exporter
        chosen = replace(options, exporter=exporter)
        manifest = export(str(minilm_folder), out, Budget(ratio=25), options=chosen)
        assert manifest.footprint.ratio >= 25
        session = ort.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
        wanted = {entry.name: feeds[entry.name] for entry in session.get_inputs()}
        rows.append(session.run(["last_hidden_state"], wanted)[0])
    kept = feeds["attention_mask"].astype(bool)
    np.testing.assert_allclose(rows[0][kept], rows[1][kept], atol=1e-4)
