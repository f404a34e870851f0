"""Figures of an encoder-decoder's table over what it writes to recordings or texts."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from exporters.encoder_decoders import is_encoder_decoder, written_statistics
from exporters.sources.facts import read_facts
from exporters.sources.source import LoadedModel
from toolkit.bundle.manifest import Source
from toolkit.errors import InputError
from toolkit.finetune.decoder_statistics import measure_written

ROWS, WIDTH = 120, 16
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
BART = {
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 24 for part in ("encoder", "decoder")},
}
WHISPER = BART | {
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 64,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """``loaded(architecture)``: a random model with what prepares its inputs, as load_source has
    it."""
    made = {}

    def once(architecture):
        if architecture in made:
            return made[architecture]
        folder = tmp_path_factory.mktemp("models") / architecture
        speech = architecture.startswith("Whisper")
        config = {"vocab_size": ROWS, "d_model": WIDTH} | SPECIAL | (WHISPER if speech else BART)
        kind = getattr(transformers, architecture)
        torch.manual_seed(0)
        kind(kind.config_class(**config)).eval().save_pretrained(folder)
        words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(ROWS - 4))]
        table = {word: id_ for id_, word in enumerate(words)}
        tokenizer = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)]
        )
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        if speech:
            transformers.WhisperFeatureExtractor().save_pretrained(folder)
        source = Source(folder.name, "folder", "")
        made[architecture] = LoadedModel(
            folder / "model.onnx", folder, read_facts(folder), source, "optimum"
        )
        return made[architecture]

    return once


def recording(path, rate=8000):
    soundfile = pytest.importorskip("soundfile")
    seconds = np.arange(rate) / rate
    soundfile.write(path, np.sin(2 * np.pi * 440 * seconds).astype(np.float32), rate)


def test_recordings_give_figures_of_the_decoders_table(loaded, tmp_path):
    for number in range(2):
        recording(tmp_path / f"{number}.wav")
    (tmp_path / "notes.txt").write_text("not a recording")
    told = []
    model = loaded("WhisperForConditionalGeneration")
    assert is_encoder_decoder(model)
    found = written_statistics(model, tmp_path, progress=lambda share, _: told.append(share))
    assert found.probabilities.shape == (ROWS,)
    assert found.probabilities.sum() == pytest.approx(1)
    assert found.hidden.shape == found.looked_up.shape == (WIDTH, WIDTH)
    assert found.tokens > 2
    assert told == [0.5, 1.0]
    assert np.array_equal(found.hidden, found.hidden.T)


def test_lines_give_figures_too(loaded, tmp_path):
    (tmp_path / "lines.txt").write_text("w1 w2 w3\n\n w4 w5\n")
    found = written_statistics(loaded("BartForConditionalGeneration"), tmp_path / "lines.txt")
    assert found.tokens > 2
    assert found.looked_up.trace() > 0


def test_what_is_measured_is_what_moves_the_decoder(loaded):
    """Against sums made by hand, for a text of one pair."""
    folder = loaded("BartForConditionalGeneration").folder
    model = transformers.BartForConditionalGeneration.from_pretrained(folder).eval()
    given = {"input_ids": torch.tensor([[5, 6, 2]]), "attention_mask": torch.ones(1, 3).long()}
    ids = torch.tensor([0, 7, 8, 9])
    found = measure_written(model, [(given, ids)])
    states = []
    handle = model.lm_head.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    with torch.no_grad():
        logits = model(**given, decoder_input_ids=ids[None]).logits[0, :-1]
    handle.remove()
    hidden = states[0][0, :-1].double()
    unsure = 1 - logits.softmax(-1).square().sum(-1, keepdim=True).double()
    wanted = (unsure * hidden).T @ hidden / 3
    np.testing.assert_allclose(found.hidden, wanted.numpy(), rtol=1e-5)
    shares = logits.softmax(-1).double().mean(0).numpy()
    np.testing.assert_allclose(found.probabilities, shares / shares.sum(), rtol=1e-5)
    assert found.tokens == 3
    assert found.starts == (0,)


@pytest.mark.parametrize("what", ["empty folder", "no folder", "text"])
def test_a_corpus_without_recordings_is_refused(loaded, tmp_path, what):
    pytest.importorskip("soundfile")
    corpus = tmp_path / "corpus"
    if what == "empty folder":
        corpus.mkdir()
    elif what == "text":
        corpus = tmp_path / "a.txt"
        corpus.write_text("w1")
    with pytest.raises(InputError, match=r"holds no recording; give a speech model a folder"):
        written_statistics(loaded("WhisperForConditionalGeneration"), corpus)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "is not here"), (b"\n \n", "holds no text"), (b"\xff\xfe\x00", "no UTF-8 text")],
)
def test_a_corpus_without_text_is_refused(loaded, tmp_path, content, told):
    corpus = tmp_path / "corpus.txt"
    if content is not None:
        corpus.write_bytes(content)
    with pytest.raises(InputError, match=told):
        written_statistics(loaded("BartForConditionalGeneration"), corpus)


def test_nothing_written_is_refused(loaded):
    model = transformers.BartForConditionalGeneration.from_pretrained(
        loaded("BartForConditionalGeneration").folder
    )
    with pytest.raises(InputError, match="nothing was written"):
        measure_written(model, [])
