"""Encoder-decoders as the files that runtimes expect: each table packed where it is read."""

import json

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers

from exporters import export
from exporters.sources.several import find_several, plain_stem
from exporters.sources.to_onnx import has_optimum
from toolkit import Budget
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import row_reader

needs_optimum = pytest.mark.skipif(not has_optimum(), reason="needs optimum")
ROWS, WIDTH = 1000, 32
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
BOTH = {
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
}
T5 = {"d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
WHISPER = BOTH | {
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 64,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
MODELS = {
    "WhisperForConditionalGeneration": WHISPER,
    "T5ForConditionalGeneration": T5,
    "MarianMTModel": BOTH | {"max_position_embeddings": 64, "decoder_vocab_size": ROWS},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``folder(architecture)``: a random model, saved."""

    def save(architecture):
        kind = getattr(transformers, architecture)
        config = {"vocab_size": ROWS, "d_model": WIDTH} | SPECIAL | MODELS[architecture]
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("models") / architecture
        kind(kind.config_class(**config)).eval().save_pretrained(path)
        return path

    return save


@pytest.fixture(scope="module")
def exported(folder, quick, tmp_path_factory):
    """``exported(architecture)``: its folder, its bundle."""
    made = {}

    def once(architecture):
        if architecture not in made:
            source, out = folder(architecture), tmp_path_factory.mktemp("out") / architecture
            options = quick(with_past=True)
            export(str(source), out, Budget(ratio=8), options=options)
            made[architecture] = source, out
        return made[architecture]

    return once


def sizes_of(path):
    """Bytes of each initializer."""
    graph = ir.load(path).graph
    return {value.const_value.nbytes for value in graph.initializers.values()}


@needs_optimum
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", list(MODELS))
def test_each_file_that_reads_the_table_holds_it_packed(exported, architecture):
    _, out = exported(architecture)
    manifest = read_manifest(out)
    assert manifest.model == "decoder_model_merged.onnx"
    assert [further.model for further in manifest.further] == ["encoder_model.onnx"]
    assert manifest.packed_heads
    assert not manifest.tied_head
    dense = ROWS * WIDTH * 4
    reads = architecture != "WhisperForConditionalGeneration"  # its encoder hears
    encoder = manifest.further[0]
    assert len(encoder.tables) == reads
    if reads:
        assert encoder.tables[0].bytes == pytest.approx(manifest.tables[0].bytes, rel=0.05)
        assert encoder.model_bytes < encoder.original_model_bytes - dense / 2
    for name in (manifest.model, encoder.model):
        assert dense not in sizes_of(out / name)
    sizes = (out / name for name in (manifest.model, encoder.model))
    files = [
        each.stat().st_size + each.with_name(f"{each.name}.data").stat().st_size for each in sizes
    ]
    assert manifest.footprint.model_bytes == sum(files)


@needs_optimum
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", list(MODELS))
def test_optimum_writes_what_torch_writes_with_the_same_table(exported, architecture):
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTModelForSpeechSeq2Seq

    source, out = exported(architecture)
    model = getattr(transformers, architecture).from_pretrained(source).eval()
    speech = architecture.startswith("Whisper")
    model.get_input_embeddings().weight.data = torch.from_numpy(
        rows_of(out / "decoder_model_merged.onnx")
    )
    model.tie_weights()
    torch.manual_seed(0)
    given = torch.randn(2, 80, 3000) if speech else torch.randint(5, ROWS, (2, 7))
    kind = ORTModelForSpeechSeq2Seq if speech else ORTModelForSeq2SeqLM
    ours = kind.from_pretrained(out)
    settings = {"max_new_tokens": 12, "num_beams": 1, "do_sample": False, "min_new_tokens": 12}
    wanted, got = (each.generate(given, **settings) for each in (model, ours))
    assert torch.equal(wanted, got)


def rows_of(path):
    """The decoded table [V, d], asked for row by row in the graph's own way."""

    model = load_plain(path)
    node = next(
        n for n in model.graph.all_nodes() if n.domain == DOMAIN and "Embedding" in n.op_type
    )
    functions = tuple(model.functions.values())
    with row_reader(model.graph, node.inputs[0], node.outputs[0], functions) as read:
        return read(np.arange(ROWS))


@needs_optimum
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_weights_of_both_files_become_smaller(exported, quick, tmp_path, weights):
    """Those in the decoder's branches too."""
    source, _ = exported("WhisperForConditionalGeneration")
    manifest = export(
        str(source), tmp_path / "out", Budget(ratio=8), options=quick(weights=weights)
    )
    word = {"int8": "MatMulInteger", "int4": "MatMulNBits"}[weights]
    for name in (manifest.model, manifest.further[0].model):
        graph = ir.load(tmp_path / "out" / name).graph
        assert word in {node.op_type for node in graph.all_nodes()}
    assert manifest.body == weights


@needs_optimum
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_such_files_is_a_source_too(folder, quick, tmp_path):
    from optimum.exporters.onnx import main_export

    source = folder("T5ForConditionalGeneration")
    main_export(
        str(source),
        tmp_path / "hub" / "onnx",
        task="text2text-generation-with-past",
        local_files_only=True,
        do_validation=False,
    )
    for name in ("encoder_model", "decoder_model_merged"):
        path = tmp_path / "hub" / "onnx" / f"{name}.onnx"
        path.rename(path.with_name(f"{name}_fp16.onnx"))
    manifest = export(str(tmp_path / "hub"), tmp_path / "out", Budget(ratio=8), options=quick())
    names = [manifest.model, *(further.model for further in manifest.further)]
    # The decoders of one precision alone belong together.
    assert names == ["decoder_model_merged.onnx", "encoder_model.onnx"]
    ort.InferenceSession(tmp_path / "out" / "encoder_model.onnx")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["encoder_model", "decoder_model_merged"], ["decoder_model_merged", "encoder_model"]),
        (
            ["encoder_model", "decoder_model", "decoder_with_past_model"],
            ["decoder_model", "decoder_with_past_model", "encoder_model"],
        ),
        (
            ["onnx/encoder_model_q4", "onnx/decoder_model_merged_q4"],
            ["onnx/decoder_model_merged_q4", "onnx/encoder_model_q4"],
        ),
        (["encoder_model", "decoder_model_merged_q4"], []),
        (["decoder_model_merged"], []),
        (["model"], []),
    ],
)
def test_which_files_belong_together(tmp_path, there, found):
    for name in there:
        path = tmp_path / f"{name}.onnx"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [
        p.relative_to(tmp_path).with_suffix("").as_posix() for p in find_several(tmp_path)
    ] == found


def test_names_lose_the_suffix_of_a_precision(tmp_path):
    assert plain_stem(tmp_path / "decoder_model_merged_quantized.onnx") == "decoder_model_merged"
    assert plain_stem(tmp_path / "decoder_with_past_model.onnx") == "decoder_with_past_model"
    assert plain_stem(tmp_path / "model.onnx") == "model"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"exporter": "genai"}, "which genai does not write; leave --exporter genai out"),
        ({"target": "qnn"}, "no fixed shapes, as target qnn"),
        ({"format": "ort"}, "leave --format out"),
        ({"heal": "own"}, "heal"),
    ],
)
@needs_optimum
@pytest.mark.filterwarnings("ignore")
def test_what_such_a_model_cannot_be_is_said_first(folder, quick, tmp_path, asked, told):
    source = folder("T5ForConditionalGeneration")
    with pytest.raises(InputError, match=told) as error:
        export(
            str(source), tmp_path / "out", Budget(ratio=8), options=quick(with_past=True, **asked)
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_single_file_is_as_it_was(exports_here, encoder_folder, quick, tmp_path):
    manifest = export(str(encoder_folder), tmp_path / "out", Budget(ratio=6), options=quick())
    written = json.loads((tmp_path / "out" / "lighttoken.json").read_text())
    assert manifest.further == ()
    assert written["further"] == []
