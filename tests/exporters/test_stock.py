"""``--decode stock``: tables as integers that onnxruntime's own operators read."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters import ExportOptions, export
from exporters.comparisons.evaluated import Comparison
from exporters.inspect import check_figures, inspect_model, without_packed
from exporters.sources.source import read_table
from exporters.targets import TARGETS
from exporters.verify.differences import CheckError
from runtime import Sampling, open_pipeline
from runtime.profile.file_bytes import TOKENS, parts
from runtime.profile.measure.rounds import profile
from toolkit import Budget, LightTokenConfig
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import BudgetError, InputError
from toolkit.graph.contract import DOMAIN
from toolkit.graph.forms import MICROSOFT
from toolkit.graph.rows import packed_rows
from toolkit.methods.grouped import metric_error, nearest
from toolkit.table.grouped import BITS, SCALES, GroupedCode

LLAMA = "LlamaForCausalLM"


def stock(**changes):
    return ExportOptions(decode="stock", **changes)


@pytest.fixture(scope="session")
def encoders(encoder_folder, kept, tmp_path_factory):
    """``encoders(bits)``: a bundle of the tiny encoder."""
    made = {}

    def make(bits):
        if bits not in made:
            out = tmp_path_factory.mktemp("stock") / f"encoder{bits}"
            made[bits] = out, export(str(encoder_folder), out, options=stock(table_bits=bits))
        return made[bits]

    return make


@pytest.fixture(scope="session")
def decoders(decoder_folder, kept, tmp_path_factory):
    """``decoders(bits)``: a bundle of the tiny decoder, whose head shares the table."""
    made = {}

    def make(bits, head=None):
        if (bits, head) not in made:
            out = tmp_path_factory.mktemp("stock") / f"decoder{bits}"
            options = stock(table_bits=bits, head=head, with_past=True)
            source = str(decoder_folder(LLAMA, 64))
            made[bits, head] = out, export(source, out, options=options)
        return made[bits, head]

    return make


def stored(path: Path):
    """What the file's initializers hold, as numpy reads them."""
    model = onnx.load(path)
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


def dequantised(packed, scales, bits, width):
    """The rows, unpacked bit by bit."""
    if packed.dtype == np.uint8:
        flat = packed.reshape(len(packed), -1)
        ones = np.unpackbits(flat[..., None], axis=-1, bitorder="little")
        codes = (ones.reshape(len(packed), -1, bits) << np.arange(bits)).sum(-1) - 2 ** (bits - 1)
    else:
        codes = packed.astype(np.int8)
    group = -(-codes.shape[1] // scales.shape[1])
    group = 2 ** int(np.ceil(np.log2(group)))
    spread = np.repeat(scales.astype(np.float32), group, axis=1)[:, : codes.shape[1]]
    return (codes.astype(np.float32) * spread)[:, :width]


def operators(path: Path):
    return [node for node in ir.load(path).graph.all_nodes() if node.domain == MICROSOFT]


@pytest.mark.parametrize("bits", BITS)
def test_an_encoder_looks_its_rows_up_in_integers(encoders, encoder_folder, bits):
    out, manifest = encoders(bits)
    name, rows, width = manifest.table, manifest.rows, manifest.width
    assert manifest.decode == "stock"
    assert manifest.method == f"stock int{bits}, 32 numbers to a scale"
    assert manifest.parity.lookup == 0
    assert manifest.parity.rewrite < 1e-4
    assert read_manifest(out) == manifest

    held = stored(out / "model.onnx")
    packed, scales = held[f"{name}.stock.packed"], held[f"{name}.stock.scales"]
    assert packed.dtype.name == ("int4" if bits == 4 else "uint8")
    assert scales.dtype == np.float16
    expected = dequantised(packed, scales, bits, width)
    np.testing.assert_array_equal(packed_rows(out / "model.onnx", rows), expected)
    table = read_table(str(encoder_folder)).values
    assert 0 < np.abs(expected - table).max() < 2 * np.abs(scales.astype(np.float32)).max()

    size = GroupedCode(bits, 32).nbytes(rows, width)
    assert manifest.footprint.embedding_bytes == size
    assert manifest.footprint.ratio == pytest.approx(4 * rows * width / size)
    assert parts(out / "model.onnx")[TOKENS] == size
    model = ir.load(out / "model.onnx")
    assert not model.functions
    assert DOMAIN not in model.opset_imports
    assert "GatherBlockQuantized" in {node.op_type for node in operators(out / "model.onnx")}


def test_a_bundle_is_read_by_every_command(encoders, encoder_folder, tmp_path):
    out, manifest = encoders(4)
    found = inspect_model(out / "model.onnx")
    check_figures(manifest, found)
    assert manifest.table not in {table.name for table in without_packed(found, manifest).tables}
    vectors = open_pipeline(out)(["word1 word2", "word3"])
    assert vectors.shape == (2, manifest.width)
    asked = Comparison(out, None, str(encoder_folder), (), tmp_path)
    models, notes = asked.models()
    assert [each.name for each in models] == ["original", out.name]
    assert not notes
    found = profile(out, lengths=(5,), runs=1, warmup=0, repeats=1)
    assert found.measurements[0].figures
    card = (out / "README.md").read_text()
    assert "The table holds int4, 32 numbers to a scale" in card
    assert "ai.lighttoken" not in card


@pytest.mark.parametrize("bits", BITS)
def test_one_table_serves_look_up_and_head(decoders, bits):
    out, manifest = decoders(bits)
    name, rows, width = manifest.table, manifest.rows, manifest.width
    assert (manifest.packed_heads, manifest.tied_head) == (1, False)
    assert manifest.parity.lookup == 0
    assert manifest.parity.rewrite < 1e-4
    nodes = {node.op_type: node for node in operators(out / "model.onnx")}
    read = nodes["GatherBlockQuantized"].inputs[0], nodes["MatMulNBits"].inputs[1]
    assert read[0] is read[1]
    held = stored(out / "model.onnx")
    same = [key for key, values in held.items() if values.size >= rows * width * bits // 8]
    assert same == [f"{name}.stock.packed"]
    expected = dequantised(held[f"{name}.stock.packed"], held[f"{name}.stock.scales"], bits, width)
    np.testing.assert_array_equal(packed_rows(out / "model.onnx", rows), expected)
    card = (out / "README.md").read_text()
    assert "`MatMulNBits` for the\noutput head that shares it" in card


def test_a_decoder_writes_and_is_compared_part_by_part(decoders, decoder_folder, tmp_path):
    out, _ = decoders(4)
    assert open_pipeline(out)("w5 w9", Sampling(), max_tokens=4).text
    asked = Comparison(out, None, str(decoder_folder(LLAMA, 64)), (), tmp_path)
    models, _ = asked.models()
    both, alone = f"{out.name}: input table and head", f"{out.name}: input table alone"
    assert [each.name for each in models] == ["original", both, alone]


def test_the_metric_of_a_decoder_decides_what_is_rounded(decoders, decoder_folder):
    from exporters.decoders import decoder_statistics
    from exporters.sources.source import load_source

    out, manifest = decoders(2)
    folder = decoder_folder(LLAMA, 64)
    loaded = load_source(str(folder), out.parent / "again", with_past=True)
    metric = decoder_statistics(loaded, seed=0).metric(head=True)
    table = read_table(str(folder)).values
    theirs = nearest(table, GroupedCode(2, 32))
    wrong = packed_rows(out / "model.onnx", manifest.rows) - table
    ours = float(np.einsum("nd,nd->", wrong @ metric, wrong)) / len(table)
    assert ours < 0.9 * metric_error(table, theirs, metric)


@pytest.mark.parametrize("head", ["nbits", "dense"])
def test_a_head_may_keep_a_matrix_of_its_own(decoders, head):
    out, manifest = decoders(4, head)
    assert (manifest.packed_heads, manifest.tied_head) == (0, head == "dense")
    assert stored(out / "model.onnx")[f"{manifest.table}.stock.packed"].dtype.name == "int4"
    kinds = [node.op_type for node in operators(out / "model.onnx")]
    assert kinds.count("MatMulNBits") == (head == "nbits")


@pytest.mark.parametrize(("width", "bits"), [(40, 4), (30, 2)])
def test_rows_that_no_groups_fill(tiny_model, tmp_path, width, bits):
    heads = 5 if width == 40 else 3
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": heads}
    model = tiny_model(LLAMA, tie_word_embeddings=True, **sizes)
    model.save_pretrained(tmp_path / "model")
    out = tmp_path / "bundle"
    manifest = export(str(tmp_path / "model"), out, options=stock(table_bits=bits))
    assert (manifest.packed_heads, manifest.parity.lookup) == (1, 0)
    assert packed_rows(out / "model.onnx", manifest.rows).shape == (manifest.rows, width)


def test_an_onnx_file_is_rounded_without_a_metric(graph, tmp_path):
    table = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
    header = "(int64[b,s] input_ids) => (float[b,s,64] rows)"
    source = tmp_path / "model.onnx"
    made = graph(header, "rows = Gather(table, input_ids)", table=table)
    ir.save(made if isinstance(made, ir.Model) else ir.from_proto(made), source)
    out = tmp_path / "bundle"
    manifest = export(str(source), out, Budget(ratio=7), options=stock())
    assert manifest.footprint.ratio >= 7
    values = packed_rows(out / "model.onnx", 300)
    theirs = nearest(table, GroupedCode(4, 32))
    assert np.square(values - table).sum() < np.square(theirs.dense() - table).sum()
    session = ort.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[0, 299, -1], [5, 7, 9]])
    np.testing.assert_array_equal(session.run(None, {"input_ids": ids})[0], values[ids])


def test_exact_rows_stand_beside_the_integers(encoder_folder, tmp_path):
    options = stock(exact_rows="0,7")
    export(str(encoder_folder), tmp_path / "bundle", options=options)
    table = read_table(str(encoder_folder)).values
    session = ort.InferenceSession(tmp_path / "bundle" / "model.onnx")
    assert session is not None
    exact = stored(tmp_path / "bundle" / "model.onnx")
    rows = next(values for name, values in exact.items() if name.endswith("exact.rows"))
    np.testing.assert_array_equal(rows[:2], table[[0, 7]])


def test_a_bundle_in_the_format_of_onnxruntime(encoder_folder, tmp_path):
    manifest = export(str(encoder_folder), tmp_path / "bundle", options=stock(format="ort"))
    assert manifest.model.endswith(".ort")
    assert open_pipeline(tmp_path / "bundle")(["word1 word2"]).shape == (1, manifest.width)


def test_half_precision_weights_get_rows_of_half_precision(encoder_folder, tmp_path):
    out = tmp_path / "bundle"
    options = stock(weights="fp16", target="webgpu", fuse=False)
    manifest = export(str(encoder_folder), out, options=options)
    graph = ir.load(out / "model.onnx").graph
    (gather,) = (node for node in graph if node.op_type == "GatherBlockQuantized")
    assert gather.inputs[2].is_initializer()  # no cast of the scales
    assert manifest.parity.rewrite < 1e-2
    assert stored(out / "model.onnx")[f"{manifest.table}.stock.scales"].dtype == np.float16


@pytest.mark.parametrize("target", ["wasm", "coreml"])
def test_a_bundle_for_other_targets(encoder_folder, tmp_path, target):
    sizes = {"batch": 1, "sequence": 6} if TARGETS[target].static else {}
    options = stock(target=target, **sizes)
    manifest = export(str(encoder_folder), tmp_path / "bundle", options=options)
    assert (manifest.target, manifest.decode) == (target, "stock")
    assert not ir.load(tmp_path / "bundle" / "model.onnx").functions


def test_a_wrong_row_is_found(encoder_folder, tmp_path, monkeypatch):
    from exporters.passes import stock_table

    def off(self, *, heads):
        tensors = dict(self.original_tensors(heads=heads))
        tensors[SCALES] = tensors[SCALES] * np.float16(1.5)
        return tensors

    kind = stock_table.GroupedTable
    monkeypatch.setattr(kind, "original_tensors", kind.tensors, raising=False)
    monkeypatch.setattr(kind, "tensors", off)
    with pytest.raises(CheckError, match="differ by"):
        export(str(encoder_folder), tmp_path / "bundle", options=stock())
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "svd"}, "not the codes of method svd"),
        ({"config": LightTokenConfig(rounds=1)}, "effort and additive codebooks"),
        ({"packed": Path("table.lt")}, "packed .* is for codes that no stock operator reads"),
        ({"heal": Path("text.txt")}, "heal .* is for codes that no stock operator reads"),
        ({"head_ratio": 6}, "use --weights int4"),
        ({"head_bytes": 600}, "use --weights int4"),
        ({"target": "qnn"}, "target qnn takes no stock operators"),
        ({"decode": None, "table_bits": 4}, "table_bits .* add --decode stock"),
        ({"decode": "inline", "table_group_size": 32}, "table_group_size .* add --decode stock"),
        ({"table_bits": 3}, "table_bits 3 is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message) as error:
        ExportOptions(**({"decode": "stock"} | changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("budget", "kind", "message"),
    [
        (Budget(ratio=25), BudgetError, "too few for a 300 x 32 table in stock operators"),
        (Budget(min_cosine=0.9), InputError, "min_cosine .* is not for stock operators"),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(encoder_folder, tmp_path, budget, kind, message):
    with pytest.raises(kind, match=message):
        export(str(encoder_folder), tmp_path / "bundle", budget, options=stock())
    assert not (tmp_path / "bundle").exists()


def test_json_says_how_it_is_held(encoders):
    from toolkit.cli.export import summary

    _, manifest = encoders(2)
    data = json.loads(json.dumps(summary(manifest)))
    assert (data["decode"], data["method"]) == ("stock", "stock int2, 32 numbers to a scale")
