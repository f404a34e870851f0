"""Speech or text in, other text out, by a model that is an encoder and a decoder.

transformers' loop writes, over optimum's sessions: they know beams, forced tokens and the languages
of every family. The files are checked first, and the native kernel takes part where it is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnxruntime

from toolkit.audio import read_audio
from toolkit.bundle.generation import GENERATION_CONFIG
from toolkit.bundle.manifest import Manifest
from toolkit.errors import FormatError, InputError
from toolkit.extras import require
from toolkit.loaders import check_tokenizer
from toolkit.quiet import quiet, reason

from .. import native
from ..providers import CPU, provider_names

SPEECH, TEXT_TO_TEXT = "automatic-speech-recognition", "text2text-generation"
_CHUNK = 30  # seconds that Whisper hears at once; longer recordings are cut, with some overlap


@dataclass(frozen=True, eq=False)
class TextToText:
    """Text in, other text out: translation, summaries.

    Attributes:
        model: one of optimum's.
        tokenizer: one of transformers'.
    """

    model: Any
    tokenizer: Any

    def __call__(
        self, texts: Sequence[str], *, max_tokens: int | None = None, language: str | None = None
    ) -> list[str]:
        """What is written for each text.

        Args:
            texts: with the prefix that the model wants, if it wants one.
            max_tokens: written at most; None leaves it to the model's settings.
            language: to write, by the tokenizer's name of it, such as ``deu_Latn``.

        Raises:
            InputError: no text, or a language that the tokenizer does not know.
        """
        if not texts:
            raise InputError("give one text or more")
        settings = _settings(max_tokens)
        if language is not None:
            settings["forced_bos_token_id"] = self._language(language)
        with quiet():
            inputs = self.tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                return_tensors="pt",
                return_token_type_ids=False,  # some tokenizers make them, nobody reads them
            )
            ids = self.model.generate(**inputs, **settings)
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _language(self, name: str) -> int:
        id_ = self.tokenizer.convert_tokens_to_ids(name)
        if id_ is None or id_ == self.tokenizer.unk_token_id:
            raise InputError(
                f"the tokenizer has no language {name!r}; give its own name of it, such as deu_Latn"
            )
        return int(id_)


@dataclass(frozen=True, eq=False)
class SpeechRecognition:
    """Recordings in, what was said out.

    Attributes:
        pipeline: one of transformers'.
        rate: samples a second that the model wants.
    """

    pipeline: Any
    rate: int

    def __call__(
        self,
        files: Sequence[str | Path],
        *,
        max_tokens: int | None = None,
        language: str | None = None,
    ) -> list[str]:
        """What is said in each file; recordings beyond 30 seconds are heard in overlapping pieces.

        Args:
            files: .wav, .flac, .ogg or .mp3.
            max_tokens: written at most for each piece.
            language: spoken; None lets the model find out, where it knows several.

        Raises:
            InputError: a file that is no recording, or a language that the model does not know.
        """
        settings = _settings(max_tokens)
        if language is not None:
            settings["language"] = language
        found = []
        for path in files:
            sound = read_audio(Path(path), self.rate)
            given = {"raw": sound, "sampling_rate": self.rate}
            try:
                with quiet():
                    found.append(self.pipeline(given, generate_kwargs=settings)["text"].strip())
            except (ValueError, AttributeError) as error:  # a tokenizer that is not Whisper's
                raise InputError(f"the model cannot transcribe {path}: {reason(error)}") from error
        return found


def _settings(max_tokens: int | None) -> dict[str, Any]:
    return {} if max_tokens is None else {"max_new_tokens": max_tokens}


def text_to_text(
    folder: Path, manifest: Manifest, provider: str, *, threads: int | None, op: bool
) -> TextToText:
    """Open a bundle for :data:`TEXT_TO_TEXT`.

    Raises:
        MissingDependencyError: optimum is not installed.
        InputError: a bundle without an encoder's file.
        FormatError: one that optimum cannot open.
    """
    require("optimum")
    with quiet():
        from optimum.onnxruntime import ORTModelForSeq2SeqLM
        from transformers import AutoTokenizer
    model = _open(ORTModelForSeq2SeqLM, folder, manifest, provider, threads, op)
    return TextToText(model, _part(AutoTokenizer, folder))


def speech_recognition(
    folder: Path, manifest: Manifest, provider: str, *, threads: int | None, op: bool
) -> SpeechRecognition:
    """Open a bundle for :data:`SPEECH`; raises what :func:`text_to_text` does."""
    require("speech")
    with quiet():
        from optimum.onnxruntime import ORTModelForSpeechSeq2Seq
        from transformers import (
            AutoFeatureExtractor,
            AutomaticSpeechRecognitionPipeline,
            AutoTokenizer,
        )
    model = _open(ORTModelForSpeechSeq2Seq, folder, manifest, provider, threads, op)
    features = _part(AutoFeatureExtractor, folder)
    with quiet():
        found = AutomaticSpeechRecognitionPipeline(
            model=model,
            tokenizer=_part(AutoTokenizer, folder),
            feature_extractor=features,
            chunk_length_s=_CHUNK,
            ignore_warning=True,
        )
    return SpeechRecognition(found, int(features.sampling_rate))


def _open(
    kind: Any, folder: Path, manifest: Manifest, provider: str, threads: int | None, op: bool
) -> Any:
    if not manifest.further:
        raise InputError(
            f"{folder} holds {manifest.model} alone, and a text needs the encoder and a decoder "
            "with a cache: export the model's folder with --with-past"
        )
    names = provider_names(provider)
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if op and names[0] == CPU:
        native.register(options)
    try:
        with quiet():
            return kind.from_pretrained(
                folder,
                subfolder=str(PurePosixPath(manifest.model).parent).strip("."),
                generation_config=_generation_config(folder),
                provider=names[0],
                session_options=options,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as error:  # whatever optimum and onnxruntime raise
        raise FormatError(f"optimum cannot open {folder}: {reason(error)}") from error


def _generation_config(folder: Path) -> Any:
    """What the model's own file says of writing, which optimum looks for beside the .onnx files;
    None leaves it to optimum."""
    from transformers import GenerationConfig

    if not (folder / GENERATION_CONFIG).is_file():
        return None
    return GenerationConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _part(kind: Any, folder: Path) -> Any:
    check_tokenizer(folder)
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise FormatError(f"transformers cannot open {folder}: {reason(error)}") from error
