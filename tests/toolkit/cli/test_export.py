import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.codebooks import is_additive
from toolkit.bundle.manifest import read_manifest


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


def test_json_has_the_figures_of_the_manifest(lighttoken, tiny_model: Path, tmp_path: Path):
    outcome = lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5, "--json")
    assert outcome.code == 0
    footprint = read_manifest(tmp_path / "out").footprint
    assert outcome.json["ratio"] == footprint.ratio >= 5
    assert outcome.json["embedding_bytes"] == footprint.embedding_bytes
    assert outcome.json["dense_bytes"] == 600 * 32 * 4
    assert outcome.json["model_bytes"] == footprint.model_bytes
    assert outcome.json["model_bytes"] < outcome.json["original_model_bytes"]
    assert outcome.json["parity_max_abs_error"] <= 1e-5


def test_what_is_left_out_is_told(lighttoken, tiny_model: Path, tmp_path: Path):
    folder = tmp_path / "folder"
    names = ("1_Pooling", "modules.json", "tokenizer*")
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns(*names))
    outcome = lighttoken("export", folder, tmp_path / "out", "--ratio", 5, "--json")
    line = "no tokenizer file is beside the model, so the bundle takes token ids and no text"
    assert outcome.json["notes"] == [line]
    assert line in (tmp_path / "out" / "README.md").read_text()
    outcome = lighttoken("export", folder, tmp_path / "again", "--ratio", 5)
    assert f"note: {line}" in " ".join(outcome.out.split())


def test_says_how_many_attentions_are_joined(lighttoken, tiny_model: Path, tmp_path: Path):
    fast = ("--ratio", 5, "--effort", "fast")
    shown = lighttoken("export", tiny_model, tmp_path / "out", *fast).out
    joined = read_manifest(tmp_path / "out").fused
    assert f"fused attentions: {joined} (--no-fuse" in shown
    plain = lighttoken("export", tiny_model, tmp_path / "plain", *fast, "--no-fuse", "--json")
    assert plain.json["fused"] is None
    without = lighttoken("export", two_tables(tmp_path), tmp_path / "two", *fast).out
    assert "no attention was fused" in without
    refused = lighttoken("export", tiny_model, tmp_path / "qnn", "--target", "qnn", "--fuse")
    assert refused.code == 2
    assert "qnn has no fused attention" in refused.err


def two_tables(folder: Path) -> Path:
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        two (int64[b,s] input_ids) => (float[b,s,16] x, float[b,s,24] y) {
            x = Gather(small, input_ids) y = Gather(large, input_ids)
        }
    """
    model = onnx.parser.parse_model(text)
    for name, width in (("small", 16), ("large", 24)):
        values = np.random.default_rng(width).normal(size=(500, width)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, folder / "two.onnx")
    return folder / "two.onnx"


def test_one_of_two_tables_or_both(lighttoken, tmp_path: Path):
    source, fast = two_tables(tmp_path), ("--ratio", 3, "--effort", "fast", "--json")
    named = lighttoken("export", source, tmp_path / "one", "--table", "small", *fast)
    assert [table["name"] for table in named.json["tables"]] == ["small"]
    both = lighttoken("export", source, tmp_path / "both", "--all-tables", *fast)
    assert [table["name"] for table in both.json["tables"]] == ["large", "small"]
    assert both.json["embedding_bytes"] == sum(table["bytes"] for table in both.json["tables"])
    shown = lighttoken("inspect", tmp_path / "both").out
    assert "packed tables" in shown
    assert all(name in shown for name in ("large", "small", "500 x 24", "500 x 16"))
    told = lighttoken("export", source, tmp_path / "told", "--all-tables", *fast[:-1]).out
    assert "500 + 500 ids" in told


def test_a_table_that_is_not_there(fails, tmp_path: Path):
    source = two_tables(tmp_path)
    line = fails("export", source, tmp_path / "out", "--table", "words")
    assert line.endswith("choose from large (500 x 24), small (500 x 16)")
    both = fails("export", source, tmp_path / "out", "--table", "small", "--all-tables")
    assert "one of them" in both
    assert leftovers(tmp_path) == ["two.onnx"]


def test_a_cache_is_refused_where_there_is_no_decoder(fails, tiny_model: Path, tmp_path: Path):
    said = fails("export", tiny_model, tmp_path / "out", "--ratio", 5, "--with-past")
    assert "--with-past is for decoders" in said
    assert leftovers(tmp_path) == []


def test_max_bytes_is_kept(lighttoken, tiny_model: Path, tmp_path: Path):
    outcome = lighttoken("export", tiny_model, tmp_path / "out", "--max-bytes", 14_000, "--json")
    assert outcome.json["embedding_bytes"] <= 14_000


def codebooks(bundle: Path) -> list[torch.Tensor]:
    """Those of the stages that have several bytes a row, int16 [256, k]."""
    tensors = {t.name: t for t in onnx.load(bundle / "model.onnx").graph.initializer}
    return [
        torch.from_numpy(onnx.numpy_helper.to_array(tensor, bundle).astype(np.int16))
        for name, tensor in tensors.items()
        if name.endswith(".codebook") and tensors[name.replace("codebook", "codes")].dims[1] > 1
    ]


def test_codebooks_are_split_where_that_is_asked_for(
    lighttoken, tiny_model: Path, tiny_bundle: Path, tmp_path: Path
):
    outcome = lighttoken(
        "export", tiny_model, tmp_path / "out", "--ratio", 5, "--additive-codebooks", "--json"
    )
    assert outcome.code == 0
    assert outcome.json["parity_max_abs_error"] <= 1e-5
    assert {is_additive(book) for book in codebooks(tmp_path / "out")} == {True}
    assert {is_additive(book) for book in codebooks(tiny_bundle)} == {False}


def test_other_methods_have_no_codebooks(fails, tiny_model: Path, tmp_path: Path):
    arguments = ("export", tiny_model, tmp_path / "out", "--method", "svd", "--additive-codebooks")
    assert "method svd has no codebooks" in fails(*arguments)
    assert leftovers(tmp_path) == []


def test_people_are_told_what_was_saved(lighttoken, tiny_model: Path, tmp_path: Path):
    outcome = lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5)
    assert "76.80 kB" in outcome.out
    assert "600 x 32" in outcome.out
    assert f"wrote {tmp_path / 'out'}".replace(" ", "") in "".join(outcome.out.split())


def test_an_onnx_file_is_a_source(lighttoken, tiny_bundle: Path, tiny_model: Path, tmp_path: Path):
    from exporters import load_source

    original = load_source(str(tiny_model), tmp_path / "work").path
    outcome = lighttoken("export", original, tmp_path / "out", "--ratio", 5, "--json")
    assert outcome.code == 0
    assert outcome.json["exporter"] == "none"


def test_existing_out_needs_force(lighttoken, fails, tiny_model: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert "--force" in fails("export", tiny_model, tmp_path / "out", "--ratio", 5)
    assert not any((tmp_path / "out").iterdir())
    assert lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5, "--force").code == 0
    assert leftovers(tmp_path) == ["out"]


def test_force_replaces_bundles_only(fails, tiny_model: Path, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    line = fails("export", tiny_model, tmp_path / "photos", "--ratio", 5, "--force")
    assert "no bundle" in line
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


def test_unreachable_ratio_names_one_that_works(
    lighttoken, fails, tiny_model: Path, tmp_path: Path
):
    line = fails("export", tiny_model, tmp_path / "out", "--ratio", 1000)
    nearest = float(line.rsplit("ratio ", 1)[1])
    assert leftovers(tmp_path) == []
    outcome = lighttoken("export", tiny_model, tmp_path / "out", "--ratio", nearest)
    assert outcome.code == 0


@pytest.mark.parametrize("ratio", ["0", "-3", "nan", "inf", "twenty"])
def test_a_ratio_that_is_none(fails, tiny_model: Path, tmp_path: Path, ratio: str):
    assert "ratio" in fails("export", tiny_model, tmp_path / "out", "--ratio", ratio)
    assert leftovers(tmp_path) == []


def test_ratio_and_max_bytes_exclude_each_other(fails, tiny_model: Path, tmp_path: Path):
    line = fails("export", tiny_model, tmp_path / "out", "--ratio", 5, "--max-bytes", 9000)
    assert "one of them" in line


def test_unknown_id_without_network_says_how_to_give_a_folder(fails, tmp_path: Path):
    line = fails("export", "nobody/no-such-model", tmp_path / "out")
    assert "nobody/no-such-model" in line
    assert "folder" in line
    assert leftovers(tmp_path) == []


def test_a_file_that_is_no_onnx(fails, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    assert "no ONNX model" in fails("export", tmp_path / "model.onnx", tmp_path / "out")
    assert leftovers(tmp_path) == ["model.onnx"]


def test_a_model_without_a_token_table(fails, tmp_path: Path):
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        vision (float[N, 3] pixels) => (float[N, 3] out) { out = Relu(pixels) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "vision.onnx")
    line = fails("export", tmp_path / "vision.onnx", tmp_path / "out")
    assert "no token table" in line
    assert "pixels" in line


def test_rows_that_are_not_finite_are_named(fails, tiny_model: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][17] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    assert "row 17" in fails("export", broken, tmp_path / "out", "--ratio", 5)
    assert leftovers(tmp_path) == ["broken"]


def test_a_full_disk(
    fails: Callable[..., str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.onnx.data")

    monkeypatch.setattr("exporters.steps.write.write_bundle", full)
    line = fails("export", tiny_model, tmp_path / "out", "--ratio", 5)
    assert "no space left on device" in line
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_interrupted_export_leaves_nothing(tiny_model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "toolkit", "export", str(tiny_model), str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--ratio", "5"], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while process.poll() is None and not leftovers(tmp_path):
        time.sleep(0.01)  # until the folder aside is there
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.splitlines()[-1] == "error: interrupted; nothing was written"
    assert leftovers(tmp_path) == []


def test_tied_head_is_said(lighttoken, tmp_path: Path):
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    outcome = lighttoken("export", tmp_path / "mlm", tmp_path / "out", "--ratio", 5)
    assert outcome.code == 0
    assert "output head shares the table" in " ".join(outcome.out.split())


def test_min_cosine_buys_a_larger_table(lighttoken, tiny_model: Path, tmp_path: Path):
    sizes = []
    for name, cosine in (("loose", 0.8), ("tight", 0.97)):
        outcome = lighttoken(
            "export",
            tiny_model,
            tmp_path / name,
            "--min-cosine",
            cosine,
            "--effort",
            "fast",
            "--json",
        )
        assert outcome.code == 0
        sizes.append(outcome.json["embedding_bytes"])
    assert sizes[1] > sizes[0]


def test_a_corpus_decides_which_rows_matter(lighttoken, tiny_model: Path, tmp_path: Path):
    (tmp_path / "corpus.txt").write_text("word500 word501 word502\n" * 200)
    tables = []
    for name, extra in (("prior", ()), ("counts", ("--corpus", tmp_path / "corpus.txt"))):
        outcome = lighttoken("export", tiny_model, tmp_path / name, "--ratio", 5, *extra)
        assert outcome.code == 0
        tables.append(decoded_error(tmp_path / name, tiny_model, slice(515, 518)))
    assert tables[1] < 0.5 * tables[0]


def decoded_error(bundle: Path, model: Path, rows: slice) -> float:
    """Squared error of some rows, from the bundle's own graph."""
    import onnx_ir as ir
    import onnxruntime

    graph = ir.load(bundle / "model.onnx")
    node = next(node for node in graph.graph if node.domain == "ai.lighttoken")
    node.outputs[0].name = "rows"
    graph.graph.outputs[:] = [node.outputs[0]]
    ir.external_data.load_to_model(graph)
    session = onnxruntime.InferenceSession(ir.to_proto(graph).SerializeToString())
    ids = np.arange(600)[rows][None]
    feeds = {entry.name: np.ones_like(ids) for entry in session.get_inputs()} | {"input_ids": ids}
    table = load_file(model / "model.safetensors")["embeddings.word_embeddings.weight"]
    return float(((session.run(None, feeds)[0][0] - table[rows]) ** 2).sum())


def test_methods_are_exported_too(lighttoken, tiny_model: Path, tmp_path: Path):
    for method in ("svd", "svd-fp32", "lighttoken-paper"):
        outcome = lighttoken(
            "export", tiny_model, tmp_path / method, "--ratio", 3, "--method", method, "--json"
        )
        assert outcome.code == 0
        assert outcome.json["parity_max_abs_error"] < 1e-5


def test_a_corpus_that_is_no_text(fails, tiny_model: Path, tmp_path: Path):
    (tmp_path / "corpus.txt").write_bytes(b"\xff\xfe\x00")
    arguments = ("export", tiny_model, tmp_path / "out", "--ratio", 5)
    assert "UTF-8" in fails(*arguments, "--corpus", tmp_path / "corpus.txt")
    assert "not here" in fails(*arguments, "--corpus", tmp_path / "none.txt")
    assert leftovers(tmp_path) == ["corpus.txt"]


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose head is a matrix of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("untied") / "llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_head_of_its_own_is_told_apart(lighttoken, fails, untied: Path, tmp_path: Path):
    out = tmp_path / "out"
    asked = ("export", untied, out, "--ratio", 4, "--head-ratio", 6.5)
    outcome = lighttoken(*asked)
    assert outcome.code == 0
    told = " ".join(outcome.out.split())
    assert "output head, 600 x 32 76.80 kB" in told
    assert "the output head is a matrix of its own, packed beside the table" in told
    shown = " ".join(lighttoken("inspect", out).out.split())
    assert "output head of its own: " in shown
    found = lighttoken("inspect", out, "--json").json
    (head,) = found["manifest"]["heads"]
    assert head["dense_bytes"] / head["bytes"] >= 6.5
    sizes = sorted(found["packed"].values())
    assert sizes == sorted([head["bytes"], found["manifest"]["footprint"]["embedding_bytes"]])
    assert found["heads"] == []
    assert "one of them" in fails(*asked, "--head-bytes", 9000, "--force")
    assert "--head-bytes" in lighttoken("export", "--help").out


def test_a_dense_head_is_told_apart(lighttoken, untied: Path, tmp_path: Path):
    out = tmp_path / "out"
    summary = lighttoken("export", untied, out, "--ratio", 4, "--head", "dense", "--json").json
    assert summary["heads"] == []
    (head,) = lighttoken("inspect", out, "--json").json["heads"]
    assert head == {
        "name": head["name"], "rows": 600, "width": 32, "nbytes": 76_800, "form": "float"
    }  # fmt: skip
    assert "dense output heads" in lighttoken("inspect", out).out


def test_a_plan_has_offers_for_both(lighttoken, untied: Path):
    found = lighttoken("plan", untied, "--ratios", "4,5", "--json").json
    for each in (found, found["head"]):
        assert (each["rows"], each["width"], each["dense_bytes"]) == (600, 32, 76_800)
        assert [offer["ratio"] for offer in each["offers"]] == [4, 5]
    assert found["head"]["offers"] != found["offers"]
    told = " ".join(lighttoken("plan", untied, "--ratios", "4").out.split())
    assert "token table, 600 x 32" in told
    assert "output head of its own, 600 x 32" in told
    assert "the head's size is asked for with --head-ratio" in told
