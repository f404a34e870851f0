"""Encoders and decoders through torch's exporter: the files that optimum writes, torch's values."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers

from exporters.sources import to_onnx
from exporters.sources.encoder_decoder_cache import encoder_of
from exporters.sources.facts import read_facts
from exporters.sources.to_onnx import export_onnx, has_optimum
from toolkit.errors import InputError
from toolkit.graph.tables import find_token_table

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS, WIDTH, HEADS, READ, WRITTEN = 300, 32, 4, 9, 7
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
BOTH = {
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": HEADS for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    "init_std": 0.3,
}
POSITIONS = BOTH | {"max_position_embeddings": 64}
T5 = {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": HEADS}
MODELS = {
    "WhisperForConditionalGeneration": BOTH
    | {"num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 64},
    "T5ForConditionalGeneration": T5,
    "MT5ForConditionalGeneration": T5,
    "BartForConditionalGeneration": POSITIONS,
    "MarianMTModel": POSITIONS | {"decoder_vocab_size": ROWS},
    "M2M100ForConditionalGeneration": POSITIONS,  # NLLB's
}


@pytest.fixture(scope="module")
def exported(exports_here, tmp_path_factory):
    """``exported(architecture)``: a random model, its folder, the folder of its files."""
    made = {}

    def once(architecture):
        if architecture not in made:
            kind = getattr(transformers, architecture)
            config = {"vocab_size": ROWS, "d_model": WIDTH} | SPECIAL | MODELS[architecture]
            torch.manual_seed(0)
            model = kind(kind.config_class(**config)).eval()
            folder = tmp_path_factory.mktemp("models") / architecture
            model.save_pretrained(folder)
            out = tmp_path_factory.mktemp("files") / architecture
            path, used = export_onnx(folder, read_facts(folder), out, "dynamo", with_past=True)
            assert (path.name, used) == ("decoder_model_merged.onnx", "dynamo")
            made[architecture] = model, folder, out
        return made[architecture]

    return once


def given_to(architecture):
    """Sound, or two texts of which one is padded."""
    torch.manual_seed(1)
    if architecture.startswith("Whisper"):
        return {"input_features": torch.randn(2, 80, 3000)}
    mask = (torch.arange(READ) < torch.tensor([[READ], [5]])).long()
    return {"input_ids": torch.randint(5, ROWS, (2, READ)) * mask, "attention_mask": mask}


@pytest.mark.parametrize("past", [0, 1])  # transformers.js' and optimum's of the first tokens
@pytest.mark.parametrize("architecture", list(MODELS))
def test_what_torch_computes_token_by_token(exported, architecture, past):
    model, _, out = exported(architecture)
    given = given_to(architecture)
    written = torch.randint(5, ROWS, (2, WRITTEN))
    with torch.no_grad():
        states = model.get_encoder()(**given).last_hidden_state.numpy()
        wanted = model(**given, decoder_input_ids=written).logits.numpy()
    encoder, decoder = (
        ort.InferenceSession(out / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("encoder_model", "decoder_model_merged")
    )
    (heard,) = encoder.run(None, {name: values.numpy() for name, values in given.items()})
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(heard, states, atol=1e-5 * np.abs(states).max())
    kept = {
        value.name.replace("past_key_values", "present"): np.zeros(
            (2, HEADS, past, WIDTH // HEADS), np.float32
        )
        for value in decoder.get_inputs()
        if value.name.startswith("past_key_values")
    }
    feeds = {"encoder_hidden_states": heard}
    if "attention_mask" in given:
        feeds["encoder_attention_mask"] = given["attention_mask"].numpy()
    names = [value.name for value in decoder.get_outputs()]
    logits = []
    for begin, end in ((0, 3), (3, 4), (4, 5), (5, WRITTEN)):
        feeds["input_ids"] = written[:, begin:end].numpy()
        feeds["use_cache_branch"] = np.array([begin > 0])
        past_values = {name.replace("present", "past_key_values"): kept[name] for name in names[1:]}
        found = dict(zip(names, decoder.run(None, feeds | past_values), strict=True))
        logits.append(found.pop("logits"))
        # As all runtimes do it: what the encoder gave is kept of the first tokens' step.
        kept |= {name: each for name, each in found.items() if begin == 0 or ".decoder." in name}
        assert begin == 0 or found["present.0.encoder.key"].shape[0] == 0
        assert kept["present.1.encoder.value"].shape[2] == heard.shape[1]
        assert kept["present.1.decoder.value"].shape[2] == end
    np.testing.assert_allclose(np.concatenate(logits, 1), wanted, atol=2e-5 * largest)


@pytest.mark.parametrize("architecture", list(MODELS))
def test_the_names_and_shapes_are_optimums(exported, architecture):
    _, _, out = exported(architecture)
    text = not architecture.startswith("Whisper")
    width, key = str(WIDTH), f"[batch_size,{HEADS},{{}},{WIDTH // HEADS}]"
    read, past = "encoder_sequence_length", "past_decoder_sequence_length"
    new = "decoder_sequence_length"
    encoder, decoder = (
        ir.load(out / f"{name}.onnx").graph for name in ("encoder_model", "decoder_model_merged")
    )

    def named(values):
        return {value.name: str(value.shape) for value in values}

    mask = {"encoder_attention_mask": f"[batch_size,{read}]"} if text else {}
    sides = [("decoder", past), ("encoder", read)]
    wanted = {
        **mask,
        "input_ids": f"[batch_size,{new}]",
        "encoder_hidden_states": f"[batch_size,{read},{width}]",
        **{
            f"past_key_values.{layer}.{side}.{each}": key.format(length)
            for layer in range(2)
            for side, length in sides
            for each in ("key", "value")
        },
        "use_cache_branch": "[1]",
    }
    assert list(named(decoder.inputs).items()) == list(wanted.items())
    sides[0] = ("decoder", f"{past} + {new}")
    outputs = {
        f"present.{layer}.{side}.{each}": key.format(length)
        for layer in range(2)
        for side, length in sides
        for each in ("key", "value")
    }
    logits = {"logits": f"[batch_size,{new},{ROWS}]"}
    assert list(named(decoder.outputs).items()) == list((logits | outputs).items())
    assert named(encoder.inputs) == (
        {"input_ids": f"[batch_size,{read}]", "attention_mask": f"[batch_size,{read}]"}
        if text
        else {"input_features": "[batch_size,80,3000]"}
    )
    assert named(encoder.outputs) == {
        "last_hidden_state": f"[batch_size,{read if text else 1500},{width}]"
    }


@pytest.mark.parametrize("architecture", list(MODELS))
def test_weights_are_stored_once(exported, architecture):
    model, _, out = exported(architecture)
    graph = ir.load(out / "decoder_model_merged.onnx").graph
    shapes = [tuple(value.shape) for value in graph.initializers.values()]
    assert (ROWS, WIDTH) in shapes
    # MT5's head is a matrix of its own, stored with its columns first.
    assert shapes.count((WIDTH, ROWS)) == architecture.startswith("MT5")
    table = find_token_table(graph)
    assert table.rows == ROWS
    assert bool(table.others) != architecture.startswith("MT5")
    numbers = sum(value.const_value.size for value in graph.initializers.values())
    decoder = model.get_decoder()  # M2M100's positions are a buffer
    parts = {*decoder.parameters(), *decoder.buffers(), *model.get_output_embeddings().parameters()}
    assert numbers <= 1.02 * sum(each.numel() for each in parts) + ROWS  # a bias of all words


@pytest.mark.skipif(not has_optimum(), reason="needs optimum")
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("architecture", list(MODELS))
def test_optimums_classes_write_what_torch_writes(exported, architecture, beams):
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTModelForSpeechSeq2Seq

    model, folder, out = exported(architecture)
    for path in folder.glob("*.json"):
        (out / path.name).write_bytes(path.read_bytes())
    speech = architecture.startswith("Whisper")
    kind = ORTModelForSpeechSeq2Seq if speech else ORTModelForSeq2SeqLM
    given = given_to(architecture)
    settings = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": False}
    wanted, got = (
        each.generate(**given, num_beams=beams, **settings)
        for each in (model, kind.from_pretrained(out))
    )
    assert torch.equal(wanted, got)


@pytest.mark.parametrize(("with_optimum", "wanted"), [(True, "optimum"), (False, "dynamo")])
def test_which_exporter_writes_them(exported, tmp_path, monkeypatch, with_optimum, wanted):
    _, folder, _ = exported("BartForConditionalGeneration")
    tried = []
    monkeypatch.setattr(to_onnx, "in_own_process", lambda job: tried.append(job.road))
    monkeypatch.setattr(to_onnx, "has_optimum", lambda: with_optimum)
    _, used = export_onnx(folder, read_facts(folder), tmp_path, "auto", with_past=True)
    assert [used] == tried == [wanted]


def test_a_speech_model_that_hears_otherwise_is_refused():
    config = transformers.Speech2TextConfig(
        vocab_size=ROWS,
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
    )
    model = transformers.Speech2TextForConditionalGeneration(config)
    with pytest.raises(InputError, match="a Speech2TextForConditionalGeneration is no Whisper"):
        encoder_of(model, speech=True)
