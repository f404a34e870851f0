"""Words that speech models get wrong: a bundle beside the original, on recordings.

usage: python benchmarks/speech.py RECORDINGS MODEL [MODEL ...] [--speak SENTENCES]

RECORDINGS is a folder of N.wav with what is said in N.txt; --speak makes one, a sentence of the
text file SENTENCES each, by espeak-ng. A MODEL is a folder of transformers, or a bundle; the first
is the one that the others are compared with.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import jiwer

from runtime import open_pipeline
from runtime.tasks.encoder_decoder import SpeechRecognition
from toolkit.bundle.manifest import MANIFEST_NAME
from toolkit.errors import LightTokenError

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
    texts = {model: transcribe(model, files) for model in asked.models}
    first = texts[asked.models[0]]
    print(f"{len(files)} recordings, {sum(len(text.split()) for text in said)} words")
    print("| model | words wrong | against the first model | texts that are its own |")
    print("|---|---:|---:|---:|")
    for model, found in texts.items():
        wrong, other = (f"{words_wrong(wanted, found):.1%}" for wanted in (said, first))
        same = sum(plain(a) == plain(b) for a, b in zip(found, first, strict=True))
        print(f"| {model.name} | {wrong} | {other} | {same} of {len(files)} |")


def speak(folder: Path, sentences: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line.strip() for line in sentences.read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(filter(None, lines)):
        wav = folder / f"{number}.wav"
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(wav), line], check=True)
        wav.with_suffix(".txt").write_text(line, encoding="utf-8")


def transcribe(model: Path, files: list[Path]) -> list[str]:
    if (model / MANIFEST_NAME).is_file():
        return open_pipeline(model)(files)
    return original(model)(files)


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


def plain(text: str) -> list[list[str]]:
    return _PLAIN([text])


if __name__ == "__main__":
    try:
        main()
    except LightTokenError as error:
        sys.exit(f"error: {error}")
