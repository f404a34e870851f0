"""Files as other tools write them: quantised, merged, traced, and larger than 2 GB."""

import resource
import shutil
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

from exporters import export, read_table
from toolkit import Budget
from toolkit.bundle.manifest import read_manifest
from toolkit.graph.tables import find_token_table

IDS = np.random.default_rng(0).integers(0, 300, (2, 9))


@pytest.fixture(scope="session")
def encoder_onnx(exported, tmp_path_factory):
    """The tiny encoder in one file of opset 21."""
    path = tmp_path_factory.mktemp("encoder") / "model.onnx"
    model = onnx.version_converter.convert_version(onnx.load(exported.original), 21)
    onnx.save(model, path)
    return path


class Texts(CalibrationDataReader):
    """Calibration on one batch."""

    def __init__(self, source):
        names = {value.name for value in ir.load(source).graph.inputs}
        feeds = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
        feeds["token_type_ids"] = np.zeros_like(IDS)
        self.feeds = iter([{name: feeds[name] for name in names}])

    def get_next(self):
        return next(self.feeds, None)


def dynamic(source, target, **options):
    quantize_dynamic(source, target, **options)


def static(source, target, **options):
    quantize_static(source, target, Texts(source), quant_format=QuantFormat.QDQ, **options)


def blocks(source, target, *, symmetric):
    config = DefaultWeightOnlyQuantConfig(
        block_size=16,
        is_symmetric=symmetric,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


@dataclass(frozen=True)
class Tool:
    call: object
    options: dict
    form: str


TOOLS = {
    "dynamic": Tool(dynamic, {}, "uint8, DequantizeLinear"),
    "dynamic, int8 by channel": Tool(
        dynamic, {"weight_type": QuantType.QInt8, "per_channel": True}, "uint8, DequantizeLinear"
    ),
    "static": Tool(static, {}, "int8, DequantizeLinear"),
    "static by channel": Tool(static, {"per_channel": True}, "int8, DequantizeLinear"),
    "4 bits": Tool(blocks, {"symmetric": True}, "int4, GatherBlockQuantized"),
    "4 bits with zero points": Tool(blocks, {"symmetric": False}, "uint4, GatherBlockQuantized"),
}


@pytest.mark.parametrize("decode", ["function", "inline"])
@pytest.mark.parametrize("name", TOOLS)
def test_what_onnxruntime_quantised_is_packed(encoder_onnx, quick, tmp_path, name, decode):
    tool = TOOLS[name]
    source, out = tmp_path / "source" / "q.onnx", tmp_path / "out"
    source.parent.mkdir()
    tool.call(encoder_onnx, source, **tool.options)
    original = find_token_table(ir.load(source).graph)
    assert (original.form, original.rows, original.width) == (tool.form, 300, 32)
    close = read_table(str(source)).values
    dense = find_token_table(ir.load(encoder_onnx).graph).value.const_value.numpy()
    step = 2 * np.abs(dense).max() / (15 if "4 bits" in name else 255)
    assert np.abs(close - dense).max() <= step
    manifest = export(str(source), out, Budget(ratio=6), options=quick(decode=decode))
    (table,) = manifest.tables
    assert (table.name, table.form) == (original.name, tool.form)
    assert table.original_bytes == original.nbytes < table.dense_bytes
    assert manifest.parity.rewrite == 0
    assert read_manifest(out) == manifest
    left = ir.load(out / "model.onnx").graph
    assert original.name not in left.initializers
    assert sum(v.const_value.size == 300 * 32 for v in left.initializers.values()) == 0


@pytest.fixture(scope="session")
def decoder_onnx(tiny_folder, quick, tmp_path_factory):
    """A tiny decoder whose head shares the table, in one file of opset 21."""
    work = tmp_path_factory.mktemp("decoder")
    options = quick(exporter="dynamo")
    folder = str(tiny_folder("GPT2LMHeadModel"))
    export(folder, work / "out", Budget(ratio=5), options=options, keep_original=work)
    model = onnx.load(work / "original" / "model.onnx")
    onnx.save(onnx.version_converter.convert_version(model, 21), work / "model.onnx")
    return work / "model.onnx"


@pytest.mark.parametrize("name", ["dynamic", "static"])
def test_a_head_that_shares_quantised_numbers_reads_the_packed_table(
    decoder_onnx, quick, tmp_path, name
):
    """It turns the integers, or quantises again what was dequantised and turned."""
    source = tmp_path / "source" / "q.onnx"
    source.parent.mkdir()
    TOOLS[name].call(decoder_onnx, source)
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=quick())
    assert (manifest.packed_heads, manifest.tied_head) == (1, False)
    left = ir.load(tmp_path / "out" / "model.onnx").graph
    assert not [v.name for v in left.initializers.values() if v.const_value.size == 300 * 32]
    ops = {node.op_type for node in left}
    assert "CompressedHead" in ops


def test_a_quantised_head_keeps_what_it_has_where_four_bits_are_asked_for(
    decoder_onnx, quick, tmp_path
):
    source = tmp_path / "source" / "q.onnx"
    source.parent.mkdir()
    TOOLS["dynamic"].call(decoder_onnx, source)
    options = quick(head="nbits")
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=options)
    assert (manifest.packed_heads, manifest.tied_head) == (0, True)
    left = ir.load(tmp_path / "out" / "model.onnx").graph
    assert "MatMulNBits" not in {node.op_type for node in left}
    assert manifest.parity.compression < 1  # it still multiplies by what it multiplied by


def test_a_head_of_floats_beside_blocks_is_one_of_its_own(decoder_onnx, quick, tmp_path):
    """The quantiser leaves a head alone that turns the table: it has other values then."""
    source = tmp_path / "source" / "q.onnx"
    source.parent.mkdir()
    blocks(decoder_onnx, source, symmetric=False)
    options = quick(head_ratio=5)
    manifest = export(str(source), tmp_path / "out", Budget(ratio=5), options=options)
    assert (manifest.packed_heads, manifest.tied_head) == (0, False)
    assert manifest.tables[0].form == "uint4, GatherBlockQuantized"
    assert [head.form for head in manifest.heads] == ["float"]
    left = ir.load(tmp_path / "out" / "model.onnx").graph
    assert not [v.name for v in left.initializers.values() if v.const_value.size == 300 * 32]


def test_the_merged_decoder_of_optimum(tmp_path, quick):
    """Both branches look up in one table and share it with a head."""
    exporters = pytest.importorskip("optimum.exporters.onnx")
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=300, d_model=32, num_layers=1, num_heads=4, d_ff=48, d_kv=8,
        decoder_start_token_id=0,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    exporters.main_export(
        str(tmp_path / "t5"),
        tmp_path / "onnx",
        task="text2text-generation-with-past",
        do_validation=False,
    )
    source = tmp_path / "onnx" / "decoder_model_merged.onnx"
    found = find_token_table(ir.load(source).graph)
    assert len(found.gathers) == 2
    manifest = export(str(source), tmp_path / "out", Budget(ratio=4), options=quick())
    assert (manifest.packed_heads, manifest.tied_head) == (2, False)
    left = ir.load(tmp_path / "out" / "model.onnx").graph
    assert found.name not in left.initializers
    assert manifest.parity.rewrite < 1e-4


@pytest.mark.skipif(
    not transformers.__version__.startswith("4."), reason="torch.jit cannot trace transformers 5"
)
def test_a_traced_model(tiny_model, tmp_path, quick):
    """torch.onnx.export(dynamo=False): names of its own, constants in nodes."""
    model = tiny_model("BertModel", attn_implementation="eager")
    torch.onnx.export(
        model,
        (torch.as_tensor(IDS), torch.ones(IDS.shape, dtype=torch.int64)),
        str(tmp_path / "traced.onnx"),
        dynamo=False,
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden", "pooled"],
        dynamic_axes={name: {0: "b", 1: "s"} for name in ("input_ids", "attention_mask")},
        opset_version=17,
    )
    manifest = export(
        str(tmp_path / "traced.onnx"), tmp_path / "out", Budget(ratio=6), options=quick()
    )
    assert (manifest.rows, manifest.width) == (300, 32)
    assert manifest.parity.rewrite < 1e-4


GENAI = """
    hidden = Gather(embed_tokens, input_ids)
    logits = com.microsoft.MatMulNBits<K = 32, N = 300, bits = 4, block_size = 16>
        (hidden, head_Q4, head_scales)
"""


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_the_form_of_genais_builder(graph, quick, tmp_path, kind):
    """A float table with its PyTorch name, and a body of MatMulNBits."""
    rng, dtype = np.random.default_rng(3), {"float": np.float32, "float16": np.float16}[kind]
    model = graph(
        f"(int64[b,s] input_ids) => ({kind}[b,s,300] logits)",
        GENAI,
        opset=21,
        embed_tokens=rng.normal(size=(300, 32)).astype(dtype),
        head_Q4=rng.integers(0, 256, (300, 2, 8)).astype(np.uint8),
        head_scales=rng.uniform(0.01, 0.02, (300, 2)).astype(dtype),
    )
    model.opset_imports["com.microsoft"] = 1
    model.graph.initializers["embed_tokens"].name = "model.embed_tokens.weight"
    (tmp_path / "source").mkdir()
    source = tmp_path / "source" / "model.onnx"
    ir.save(model, source, external_data="model.onnx.data")
    manifest = export(str(source), tmp_path / "out", Budget(ratio=6), options=quick())
    assert manifest.table == "model.embed_tokens.weight"
    assert (manifest.packed_heads, manifest.tied_head) == (0, False)
    session = ort.InferenceSession(tmp_path / "out" / "model.onnx")
    assert session.run(None, {"input_ids": IDS})[0].dtype == dtype


GIGABYTES = 2.2


@pytest.mark.slow
def test_a_model_of_more_than_2_gb(graph, quick, tmp_path):
    """Weights stay on disk: positions [500,000 x 1,100] that no text reaches, in a sparse file."""
    if shutil.disk_usage(tmp_path).free < 5 * GIGABYTES * 1e9:
        pytest.skip("needs room for the model, its bundle and the checks' copies")
    rows, width = 500_000, 1100
    rng = np.random.default_rng(3)
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "far.data").open("wb") as file:
        file.truncate(4 * rows * width)
    model = graph(
        "(int64[b,s] input_ids) => (float[b,s,1100] y)",
        """
        tokens = Gather(table, input_ids) wide = MatMul(tokens, w)
        shape = Shape(input_ids) length = Gather(shape, one) range = Range(zero, length, one)
        places = Gather(far, range) y = Add(wide, places)
        """,
        table=rng.normal(size=(2000, 24)).astype(np.float32),
        w=rng.normal(size=(24, width)).astype(np.float32),
        zero=np.array(0),
        one=np.array(1),
    )
    far = next(value for node in model.graph for value in node.inputs if value.name == "far")
    far.const_value = ir.ExternalTensor(
        "far.data", 0, 4 * rows * width, ir.DataType.FLOAT, shape=ir.Shape([rows, width]),
        name="far", base_dir=tmp_path / "source",
    )  # fmt: skip
    model.graph.register_initializer(far)
    onnx.save(ir.to_proto(model), tmp_path / "source" / "model.onnx")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = export(
        str(tmp_path / "source" / "model.onnx"), tmp_path / "out", Budget(ratio=5), options=quick()
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert manifest.footprint.model_bytes > 2**31  # more than one protobuf holds
    assert (manifest.rows, manifest.width, manifest.parity.rewrite) == (2000, 24, 0)
    print(f"resident memory grew by {grown / 1e6:.2f} GB")
