"""Recordings and texts through a bundle of an encoder and a decoder, to other text."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from exporters import export
from exporters.sources.to_onnx import has_optimum
from runtime import SpeechRecognition, TextToText, open_pipeline
from toolkit import Budget
from toolkit.cli.app import run
from toolkit.errors import FormatError, InputError

pytestmark = [
    pytest.mark.skipif(not has_optimum(), reason="needs optimum"),
    pytest.mark.filterwarnings("ignore"),
]
Fast = transformers.PreTrainedTokenizerFast
ROWS = 300
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
PARTS = {
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 24 for part in ("encoder", "decoder")},
}
WHISPER = PARTS | {
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 64,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``folder(architecture)``: a random model, its tokenizer, what makes features of sound."""

    def save(architecture):
        path = tmp_path_factory.mktemp("models") / architecture
        speech = architecture.startswith("Whisper")
        kind = getattr(transformers, architecture)
        config = {"vocab_size": ROWS, "d_model": 32} | SPECIAL | (WHISPER if speech else PARTS)
        torch.manual_seed(0)
        model = kind(kind.config_class(**config, init_std=0.5)).eval()
        model.generation_config.max_length = 20
        model.save_pretrained(path)
        words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(ROWS - 6))]
        words += ["<|startoftranscript|>", "<|notimestamps|>"]  # what follows would be timestamps
        ids = {word: id_ for id_, word in enumerate(words)}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)]
        )
        library = transformers.WhisperTokenizerFast if speech else Fast
        library(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(path)
        if speech:
            transformers.WhisperFeatureExtractor().save_pretrained(path)
        return path

    return save


@pytest.fixture(scope="module")
def bundle(folder, quick, tmp_path_factory):
    """``bundle(architecture)``: exported."""
    made = {}

    def once(architecture):
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp("bundles") / architecture
            source = folder(architecture)
            options = quick(with_past=True)
            export(str(source), made[architecture], Budget(ratio=3), options=options)
        return made[architecture]

    return once


@pytest.fixture
def recording(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    sound = np.random.default_rng(0).normal(size=16000) / 10
    soundfile.write(tmp_path / "a.wav", sound, 16000)
    return tmp_path / "a.wav"


def test_a_text_becomes_another(bundle, capfd):
    path = bundle("BartForConditionalGeneration")
    translate = open_pipeline(path)
    assert isinstance(translate, TextToText)
    first, second = translate(["w1 w2 w3", "w200"])
    assert first.split()[0].startswith("w")
    assert translate(["w200"]) == [second]  # padding changes nothing
    assert len(translate(["w1 w2 w3"], max_tokens=3)[0].split()) <= 3
    assert run(["run", str(path), "w1 w2 w3", "w200"]) == 0
    assert capfd.readouterr().out == f"{first}\n{second}\n"
    assert run(["run", str(path), "w200", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == [{"input": "w200", "text": second}]


def test_the_kernel_is_no_other_model(bundle):
    path = bundle("BartForConditionalGeneration")
    with_op, without = (open_pipeline(path, op=op)(["w5 w6", "w7"]) for op in (True, False))
    assert with_op == without


def test_a_language_is_the_first_token(bundle):
    translate = open_pipeline(bundle("BartForConditionalGeneration"))
    assert translate(["w1"], language="w9")[0].split()[0] == "w9"
    with pytest.raises(InputError, match="no language 'Klingon'"):
        translate(["w1"], language="Klingon")
    with pytest.raises(InputError, match="give one text"):
        translate([])


def test_a_recording_becomes_text(bundle, recording, capfd):
    path = bundle("WhisperForConditionalGeneration")
    transcribe = open_pipeline(path)
    assert isinstance(transcribe, SpeechRecognition)
    (text,) = transcribe([recording], max_tokens=8)
    assert text.split()[0].startswith("w")
    assert run(["run", str(path), str(recording), "--max-tokens", "8"]) == 0
    assert capfd.readouterr().out == f"{text}\n"
    assert run(["run", str(path), "nothing.wav"]) == 2
    error = capfd.readouterr().err
    assert "nothing.wav is not here; give a recording" in error
    assert error.count("\n") == 1


def test_an_altered_file_is_refused(bundle, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundle("BartForConditionalGeneration"), copy)
    data = copy / "encoder_model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(FormatError, match=r"encoder_model\.onnx\.data was altered"):
        open_pipeline(copy)
    data.unlink()
    with pytest.raises(FormatError, match=r"encoder_model\.onnx\.data is missing"):
        open_pipeline(copy)


def test_a_bare_file_has_no_such_task(bundle, tmp_path):
    path = bundle("BartForConditionalGeneration")
    with pytest.raises(InputError, match="is for bundles alone"):
        open_pipeline(path / "decoder_model_merged.onnx", like=path)


@pytest.mark.parametrize(
    "architecture", ["BartForConditionalGeneration", "WhisperForConditionalGeneration"]
)
def test_the_cards_own_program(bundle, monkeypatch, architecture):
    path = bundle(architecture)
    card = (path / "README.md").read_text()
    programs = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    (program,) = [each for each in programs if "optimum" in each]
    monkeypatch.chdir(path)
    scope = {}
    exec(program, scope)
    (text,) = scope["results"]
    assert text.split()[0].startswith("w")


def test_the_structure_of_transformers_js(folder, quick, monkeypatch, tmp_path):
    """Whose files are in a sub-folder, where optimum looks for the settings of writing too."""
    source = folder("BartForConditionalGeneration")
    options = quick(with_past=True, structure="transformers-js")
    manifest = export(str(source), tmp_path / "out", Budget(ratio=3), options=options)
    assert manifest.model == "onnx/decoder_model_merged.onnx"
    names = {path.name for path in (tmp_path / "out" / "onnx").iterdir()}
    both = ("encoder_model.onnx", "decoder_model_merged.onnx")
    assert names == {*both, *(f"{name}_data" for name in both)}
    settings = tmp_path / "out" / "generation_config.json"
    told = json.loads(settings.read_text()) | {"min_new_tokens": 7, "max_length": 9}
    settings.write_text(json.dumps(told))
    pipeline = open_pipeline(tmp_path / "out", verify=False)
    assert pipeline.model.generation_config.min_new_tokens == 7
    (text,) = pipeline(["w1 w2 w3"])
    assert 5 < len(text.split()) < 9
    card = (tmp_path / "out" / "README.md").read_text()
    programs = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    (program,) = [each for each in programs if "optimum" in each]
    monkeypatch.chdir(tmp_path / "out")
    scope = {}
    exec(program, scope)
    assert scope["model"].generation_config.max_length == 9
