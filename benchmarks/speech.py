"""What speech models expect and write: a bundle beside the original, on recordings.

usage: python benchmarks/speech.py RECORDINGS MODEL [MODEL ...] [--speak SENTENCES]

RECORDINGS is a folder of N.wav with what is said in N.txt; --speak makes one, a sentence of the
text file SENTENCES each, by espeak-ng. A MODEL is a folder of transformers, or a bundle; the first
is the one that the others are compared with: by the words of their texts, and by what they expect
next, token by token, where each reads the first one's text.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jiwer
import torch
from torch import Tensor

from runtime import open_pipeline
from runtime.tasks.encoder_decoder import SpeechRecognition
from toolkit.audio import read_audio
from toolkit.bundle.manifest import MANIFEST_NAME
from toolkit.errors import LightTokenError
from toolkit.quiet import quiet

_PLAIN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--speak", type=Path, help="a text file, one sentence a line")
    asked = parser.parse_args()
    if asked.speak is not None:
        speak(asked.recordings, asked.speak)
    files = sorted(asked.recordings.glob("*.wav"), key=lambda path: (len(path.name), path.name))
    said = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in files]
    print(f"{len(files)} recordings, {sum(len(text.split()) for text in said)} words")
    print("| model | divergence | next token as the first's | words wrong | against the first |")
    print("|---|---:|---:|---:|---:|", flush=True)
    first: Heard | None = None
    for model in asked.models:
        heard = hear(model, files, first)
        first = first or heard
        wrong, other = (f"{words_wrong(them, heard.texts):.1%}" for them in (said, first.texts))
        divergence, same = compared(first.expected, heard.expected)
        print(f"| {model.name} | {divergence:.3f} | {same:.1%} | {wrong} | {other} |", flush=True)


@dataclass(frozen=True, eq=False)
class Heard:
    """What a model makes of each recording.

    Attributes:
        texts: what it writes.
        ids: the tokens of the first model's text, int64 [1, length].
        expected: its log-probabilities of each next one of these, float32 [length - 1, V].
    """

    texts: list[str]
    ids: list[Tensor]
    expected: list[Tensor]


def hear(model: Path, files: list[Path], first: Heard | None) -> Heard:
    opened = open_pipeline(model) if (model / MANIFEST_NAME).is_file() else original(model)
    assert isinstance(opened, SpeechRecognition)
    texts, ids, expected = opened(files), [], []
    inner, extractor = opened.pipeline.model, opened.pipeline.feature_extractor
    for number, path in enumerate(files):
        sound = read_audio(path, opened.rate)
        given = extractor(sound, sampling_rate=opened.rate, return_tensors="pt")
        with torch.no_grad(), quiet():
            if first is None:
                ids.append(inner.generate(**given, num_beams=1, return_dict_in_generate=True)[0])
            else:
                ids.append(first.ids[number])
            logits = inner(**given, decoder_input_ids=ids[-1][:, :-1]).logits
        expected.append(logits[0].float().log_softmax(-1))
    return Heard(texts, ids, expected)


def compared(left: list[Tensor], right: list[Tensor]) -> tuple[float, float]:
    """The mean Kullback-Leibler divergence from ``left``, in nats, and how often both expect the
    same token most."""
    pairs = list(zip(torch.cat(left), torch.cat(right), strict=True))
    divergence = [float((a.exp() * (a - b)).sum()) for a, b in pairs]
    same = [bool(a.argmax() == b.argmax()) for a, b in pairs]
    return sum(divergence) / len(pairs), sum(same) / len(pairs)


def speak(folder: Path, sentences: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line.strip() for line in sentences.read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(filter(None, lines)):
        wav = folder / f"{number}.wav"
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(wav), line], check=True)
        wav.with_suffix(".txt").write_text(line, encoding="utf-8")


def original(folder: Path) -> SpeechRecognition:
    """The same loop over the model in PyTorch."""
    from transformers import (
        AutoFeatureExtractor,
        AutomaticSpeechRecognitionPipeline,
        AutoModelForSpeechSeq2Seq,
        AutoTokenizer,
    )

    features = AutoFeatureExtractor.from_pretrained(folder)
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        feature_extractor=features,
        chunk_length_s=30,
        ignore_warning=True,
    )
    return SpeechRecognition(pipeline, features.sampling_rate)


def words_wrong(wanted: list[str], found: list[str]) -> float:
    return jiwer.wer(wanted, found, reference_transform=_PLAIN, hypothesis_transform=_PLAIN)


if __name__ == "__main__":
    try:
        main()
    except LightTokenError as error:
        sys.exit(f"error: {error}")
