"""Text in; vectors, tokens, labels, answers or more text out."""

from pathlib import Path

from toolkit.bundle.late_interaction import keeps_token_vectors
from toolkit.bundle.manifest import MANIFEST_NAME, Manifest, Pooling, read_manifest, verify_files
from toolkit.errors import InputError

from ..session import open_session
from .encoder_decoder import (
    SPEECH,
    TEXT_TO_TEXT,
    SpeechRecognition,
    TextToText,
    speech_recognition,
    text_to_text,
)
from .feature_extraction import FeatureExtraction, feature_extraction
from .fill_mask import FillMask, fill_mask
from .late_interaction import LateInteraction, late_interaction
from .multiple_choice import MultipleChoice, multiple_choice
from .question_answering import QuestionAnswering, question_answering
from .sparse_encoding import SPLADE, SparseEncoding, sparse_encoding
from .text_classification import TextClassification, text_classification
from .text_generation import TextGeneration, text_generation
from .text_ranking import TextRanking, text_ranking
from .token_classification import TokenClassification, token_classification
from .tokenize import open_tokenizer

Pipeline = (
    FeatureExtraction
    | LateInteraction
    | FillMask
    | SparseEncoding
    | TextClassification
    | TextRanking
    | TokenClassification
    | QuestionAnswering
    | MultipleChoice
    | TextGeneration
    | TextToText
    | SpeechRecognition
)

TASKS = (
    "feature-extraction",
    "fill-mask",
    "text-classification",
    "text-ranking",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "text-generation",
    TEXT_TO_TEXT,
    SPEECH,
)


def open_pipeline(
    model: str | Path,
    provider: str = "cpu",
    *,
    like: str | Path | None = None,
    task: str | None = None,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    threads: int | None = None,
    verify: bool = True,
    op: bool = True,
) -> Pipeline:
    """Open a bundle, or any ``.onnx`` file together with ``like``.

    Args:
        model: a bundle folder or a model file.
        provider: a word of :data:`runtime.providers.PROVIDERS`.
        like: where tokenizer, config and manifest come from instead of ``model``: another bundle
            (to compare the original model with it), or a plain folder of tokenizer files.
        task: one of :data:`TASKS`; None takes the manifest's.
        pooling: for feature-extraction, of a vector a text or one a token, and fill-mask models
            that give weighted terms; None takes the manifest's, but no such terms where ``task``
            asks for masks.
        max_length: tokens that a text is cut to; None takes the manifest's.
        threads: threads that one operator may use; None leaves the choice to onnxruntime.
        verify: check a bundle's files first.
        op: use the native kernel where it is built, as :func:`runtime.open_session` says.

    Raises:
        InputError: no task is known, it has no pipeline, or the graph does not fit it.
        FormatError: damaged files.
    """
    folder = Path(model if like is None else like)
    if folder.is_file():
        raise InputError(
            f"{folder} is a bare model; give like=FOLDER with its tokenizer (a bundle will do)"
        )
    manifest = _manifest_of(folder)
    if manifest is None and like is None:
        read_manifest(folder)  # says what is wrong with it
    if pooling is None and manifest is not None and task != "fill-mask":
        pooling = manifest.pooling
    task = task or (manifest.task if manifest else None)
    if task is None:
        raise InputError(f"{folder} has no manifest; give task=, one of {', '.join(TASKS)}")
    if task == "image-text-to-text":
        raise InputError(
            "LightToken does not read images; open the bundle with transformers.js or "
            "onnxruntime-genai, whichever the model was made for"
        )
    if task not in TASKS:
        raise InputError(f"task {task!r} has no pipeline; those that run are {', '.join(TASKS)}")

    if task in (SPEECH, TEXT_TO_TEXT):
        if manifest is None or like is not None:
            raise InputError(f"task {task!r} is for bundles alone; give the bundle's folder")
        if verify:
            verify_files(folder, manifest)
        if task == SPEECH:
            return speech_recognition(folder, manifest, provider, threads=threads, op=op)
        return text_to_text(folder, manifest, provider, threads=threads, op=op)
    session = open_session(model, provider, threads=threads, verify=verify, op=op)
    tokenizer = open_tokenizer(folder, max_length)
    if task == "fill-mask" and pooling is not None and pooling.mode.startswith(SPLADE):
        return sparse_encoding(session, tokenizer, pooling)
    if task == "fill-mask":
        return fill_mask(session, tokenizer)
    if task == "text-classification":
        return text_classification(session, tokenizer, folder)
    if task == "text-ranking":
        return text_ranking(session, tokenizer)
    if task == "token-classification":
        return token_classification(session, tokenizer, folder)
    if task == "question-answering":
        return question_answering(session, tokenizer)
    if task == "multiple-choice":
        return multiple_choice(session, tokenizer)
    if task == "text-generation":
        return text_generation(session, tokenizer, folder)
    if keeps_token_vectors(pooling):
        return late_interaction(session, tokenizer, folder)
    return feature_extraction(session, tokenizer, pooling, folder)


def _manifest_of(folder: Path) -> Manifest | None:
    return read_manifest(folder) if (folder / MANIFEST_NAME).is_file() else None
