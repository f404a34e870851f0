"""A model under evaluation: its session, its tokenizer, and what makes results of its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.bundle.late_interaction import keeps_token_vectors
from toolkit.bundle.manifest import MANIFEST_NAME, Pooling, read_manifest
from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session, open_session
from ..tasks.feature_extraction import FeatureExtraction, feature_extraction
from ..tasks.text_classification import TextClassification, text_classification
from ..tasks.tokenize import Tokenizer, open_tokenizer


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """An open model.

    Attributes:
        name: what figures call it; that of the uncompressed model is ``figures.ORIGINAL``.
        session: the open graph.
        tokenizer: what feeds it; texts are cut to its ``max_length``.
        task: in the Hugging Face hub's words, as in a bundle's manifest.
        folder: where tokenizer and config.json are.
        pooling: of a sentence encoder.
        nbytes: of the graph and its weights, None if unknown.
    """

    name: str
    session: Session
    tokenizer: Tokenizer
    task: str
    folder: Path
    pooling: Pooling | None = None
    nbytes: int | None = None

    def encoder(self) -> FeatureExtraction:
        """Texts to vectors; of a model that keeps one for each token their mean.

        Raises:
            InputError: a graph without vectors.
        """
        pooling = None if keeps_token_vectors(self.pooling) else self.pooling
        return feature_extraction(self.session, self.tokenizer, pooling, self.folder)

    def classifier(self) -> TextClassification:
        """Texts to labels.

        Raises:
            InputError: a graph without logits of one label set a text.
        """
        return text_classification(self.session, self.tokenizer, self.folder)


def open_model(
    model: str | Path,
    name: str,
    *,
    folder: str | Path | None = None,
    task: str | None = None,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    nbytes: int | None = None,
    threads: int | None = None,
    verify: bool = True,
    op: bool = True,
) -> EvaluatedModel:
    """Open a bundle, or a bare ``.onnx`` file with the tokenizer of ``folder``.

    Args:
        model: a bundle folder or a model file.
        name: see :class:`EvaluatedModel`.
        folder: where tokenizer, config.json and, in a bundle, the manifest are; None for ``model``
            itself, which is a bundle then.
        task, pooling, max_length: None for what the manifest of ``folder`` says.
        nbytes: None for what the manifest of a bundle ``model`` says.
        threads, verify, op: as :func:`runtime.open_session` has them.

    Raises:
        InputError: nothing there, no tokenizer, or no task known.
        FormatError: damaged files.
    """
    model = Path(model)
    place = Path(folder) if folder is not None else model
    if place.is_file():
        raise InputError(f"{place} is a bare model; give folder= with its tokenizer")
    manifest = read_manifest(place) if (place / MANIFEST_NAME).is_file() else None
    if manifest is None and folder is None:
        read_manifest(place)  # says what is wrong with it
    if task is None and manifest is None:
        raise InputError(f"{place} has no {MANIFEST_NAME}; give task=")
    if manifest is not None:
        task, pooling = task or manifest.task, pooling or manifest.pooling
        if nbytes is None and place == model:
            nbytes = manifest.footprint.model_bytes
    assert task is not None
    session = open_session(model, threads=threads, verify=verify, op=op)
    tokenizer = open_tokenizer(place, max_length)
    return EvaluatedModel(name, session, tokenizer, task, place, pooling, nbytes)


def need_task(models: Sequence[EvaluatedModel], tasks: Sequence[str], what: str) -> None:
    """Raise InputError for the first of ``models`` that has none of ``tasks``.

    ``what`` completes the line: «pairs need sentence vectors».
    """
    for model in models:
        if model.task not in tasks:
            raise InputError(f"{model.name} is a {model.task} model; {what}")


def part(
    progress: Progress | None,
    index: int,
    models: Sequence[EvaluatedModel],
    what: str | None = None,
) -> Progress | None:
    """The progress of one of several ``models`` that take as long as one another.

    ``what`` is being done, by default running that model.
    """
    if progress is None:
        return None
    words = what or f"running {models[index].name}"
    return lambda share, _: progress((index + share) / len(models), words)
