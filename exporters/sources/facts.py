"""What a model folder says about itself: task, pooling, length limit, files worth shipping."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import json_files
from toolkit.bundle.late_interaction import keeps_token_vectors, text_settings
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

from .folder_files import (
    CONFIG,
    LENGTHS,
    SENTENCE_TRANSFORMERS,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    setting_files,
    tokenizer_files,
)
from .licence import licence_files, licence_name
from .sentence_modules import read_modules
from .settings import Settings
from .several import IMAGE_TEXT, SPEECH, TEXT_TO_TEXT
from .text_towers import text_tower

__all__ = [
    "CONFIG",
    "TOKENIZER",
    "TOKENIZER_CONFIG",
    "WITH_HEADS",
    "Facts",
    "read_facts",
    "read_json",
]

# The end of an architecture's class name -> the Hugging Face hub's word for its task.
_TASKS = {
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "feature-extraction",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMultipleChoice": "multiple-choice",
    "ForQuestionAnswering": "question-answering",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "Model": "feature-extraction",
}
# Cross-encoders are sequence classifiers with one number, for a query with a passage.
_CLASSIFIER, RANKER = "text-classification", "text-ranking"
_RANKERS_SETTINGS = ("sentence_transformers", "sbert_ce_default_activation_function")
# The same of models that have an encoder and a decoder.
_TEXT_TO_TEXT = ("ForConditionalGeneration", "MTModel")
_SPEECH = ("whisper", "speech_to_text", "moonshine", "speech-encoder-decoder")  # that write text
WRITING = ("text-generation", TEXT_TO_TEXT, SPEECH, IMAGE_TEXT)
"""Tasks of models that write: errors in their tables reach every token that follows."""
WITH_HEADS = (*WRITING, "fill-mask")
"""Tasks whose models end in a head over the vocabulary."""
_NAME_TOKENS = (SPECIAL_TOKENS, TOKENIZER_CONFIG)
_NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer knows no limit
# Their first position is the one after the padding id's, so some of the positions go unused.
_POSITIONS_AFTER_PADDING = {
    "altclip_text_model",
    "bridgetower_text_model",
    "camembert",
    "clap_text_model",
    "data2vec-text",
    "ernie_m",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
_USUAL_PADDING = 1  # of those families
# What families call the number of positions that they have.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_encoder_position_embeddings")
# These keep n_positions of their first configuration, and any length works.
_RELATIVE = {"t5", "mt5", "umt5", "longt5", "switch_transformers"}


@dataclass(frozen=True)
class Facts:
    """What travels from the model's folder into the bundle.

    Attributes:
        task: the hub's word.
        architecture: class name in transformers, None where config.json names none.
        pooling: for sentence encoders.
        max_length: tokens that texts are cut to.
        assets: files to copy, relative to the folder.
        remote_code: the folder, or a repository that it names, brings Python code for the model.
        model_type: transformers' word for the family, None where config.json has none.
        has_mask: the tokenizer names a token that stands for a masked one.
        vector: the output that is one vector a text, of a graph that pools by itself as CLIP's text
            model does.
        labels: how many labels config.json names.
        left_out: modules of sentence-transformers after pooling that the graph does not hold.
        projection: of a ColBERT model the folders of what projects its token vectors, in order;
            ``""`` for the model's own, whose weights hold the projection too.
        notes: what a user should know of what was not read, and of what does not travel.
        licence: the hub's word for it, where the model's card names one.
    """

    task: str
    architecture: str | None
    pooling: Pooling | None
    max_length: int | None
    assets: tuple[str, ...]
    remote_code: bool = False
    model_type: str | None = None
    has_mask: bool = False
    vector: str | None = None
    labels: int = 0
    left_out: tuple[str, ...] = ()
    projection: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    licence: str | None = None

    @property
    def weighs_terms(self) -> bool:
        """Whether ``pooling`` makes weighted terms of what a masked language model expects."""
        return self.pooling is not None and self.pooling.mode.startswith("splade")

    @property
    def keeps_token_vectors(self) -> bool:
        """Whether it is a ColBERT model, whose texts are compared token by token."""
        return keeps_token_vectors(self.pooling)


def read_facts(folder: Path, *, is_onnx: bool = False) -> Facts:
    """Read a transformers or sentence-transformers folder.

    Args:
        folder: where the config files are.
        is_onnx: the model is ONNX already. Files that cannot be read are then left out, and an
            architecture that is unknown here does not matter.

    Raises:
        InputError: an architecture whose task is not known here, or a damaged file.
    """
    settings = Settings(folder, strict=not is_onnx)
    config = settings.read(CONFIG)
    architecture = _architecture(settings, config)
    model_type = config.get("model_type")
    if is_onnx and config and not ({"model_type", "architectures"} & set(config)):
        settings.refuse(CONFIG, "names neither model_type nor architectures; repair it")
        config = {}
    modules = read_modules(settings)
    tower = None if modules.encodes else text_tower(architecture)
    encodes = modules.encodes or tower is not None
    task = "feature-extraction" if encodes else _task(architecture, config, is_onnx)
    if tower is not None and tower.whole and not is_onnx:
        settings.notes.append(f"of {architecture} the text model is exported alone")
    if task == _CLASSIFIER and _ranks(settings, config):
        task = RANKER
    late = keeps_token_vectors(modules.pooling)
    max_length = _longest_text(settings, config) if late else _max_length(settings, config)
    tokenizer = tokenizer_files(folder)
    if not tokenizer:
        settings.notes.append(
            "no tokenizer file is beside the model, so the bundle takes token ids and no text"
        )
    own = [name for name in setting_files(folder) if name not in settings.unread]
    return Facts(
        task=task,
        architecture=architecture,
        pooling=modules.pooling if encodes or task == "fill-mask" else None,
        max_length=max_length,
        assets=(*own, *tokenizer, *modules.files, *licence_files(folder)),
        remote_code=bool(config.get("auto_map")),
        model_type=model_type if isinstance(model_type, str) else None,
        has_mask=any(settings.read(name).get("mask_token") for name in _NAME_TOKENS),
        vector=None if tower is None else tower.vector,
        labels=len(named) if isinstance(named := config.get("id2label"), dict) else 0,
        left_out=modules.left_out,
        projection=modules.projection,
        notes=tuple(settings.notes),
        licence=licence_name(folder),
    )


def _architecture(settings: Settings, config: dict[str, Any]) -> str | None:
    found = config.get("architectures") or [None]
    architecture = found[0] if isinstance(found, list) else found
    if isinstance(architecture, str | None):
        return architecture
    settings.refuse(CONFIG, f"names architecture {architecture!r}; repair it")
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one if the file is not there.

    Raises:
        InputError: the file is no JSON object.
    """
    return json_files.read_json(path, error=InputError, remedy="download the model again")


def _task(architecture: str | None, config: dict[str, Any], is_onnx: bool) -> str:
    if architecture is None:
        return "feature-extraction"
    if config.get("is_encoder_decoder") and architecture.endswith(_TEXT_TO_TEXT):
        speech = config.get("model_type") in _SPEECH
        return SPEECH if speech else TEXT_TO_TEXT
    for ending, task in _TASKS.items():
        if architecture.endswith(ending):
            return task
    if is_onnx:
        return "feature-extraction"
    raise InputError(
        f"architecture {architecture} is not supported yet; export it to ONNX with another tool "
        "and give the .onnx file"
    )


def _ranks(settings: Settings, config: dict[str, Any]) -> bool:
    """Whether a classifier's one number says how well a passage answers a query.

    Cross-encoders of sentence-transformers say so; else it is a number without a name, that is no
    regression's.
    """
    names = config.get("id2label")
    if not isinstance(names, dict) or len(names) != 1:
        return False
    if settings.read(SENTENCE_TRANSFORMERS).get("model_type") == "CrossEncoder":
        return True
    if any(key in config for key in _RANKERS_SETTINGS):
        return True
    return names.get("0") == "LABEL_0" and config.get("problem_type") != "regression"


def _max_length(settings: Settings, config: dict[str, Any]) -> int | None:
    limits = (
        _limit(settings, LENGTHS, settings.read(LENGTHS), "max_seq_length"),
        _limit(settings, TOKENIZER_CONFIG, settings.read(TOKENIZER_CONFIG), "model_max_length"),
        _positions(settings, config),
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _longest_text(settings: Settings, config: dict[str, Any]) -> int:
    """Tokens of a ColBERT model's longest text; other limits are of the kind that was read last."""
    told = text_settings(settings.read, settings.folder)
    longest = max(told.query_length, told.document_length)
    return min(longest, _positions(settings, config) or longest)


def _positions(settings: Settings, config: dict[str, Any]) -> int | None:
    """Tokens that the model has positions for; of a model with more than text, the text's."""
    for part in (config, config.get("text_config")):
        if not isinstance(part, dict) or part.get("model_type") in _RELATIVE:
            continue
        for key in _POSITIONS:
            positions = _limit(settings, CONFIG, part, key)
            if positions is None:
                continue
            if part.get("model_type") in _POSITIONS_AFTER_PADDING:
                padding = part.get("pad_token_id")
                first = (padding if isinstance(padding, int) else _USUAL_PADDING) + 1
                positions = max(1, positions - first)
            return positions
    return None


def _limit(settings: Settings, name: str, data: dict[str, Any], key: str) -> int | None:
    """A number of tokens; None where ``data``, of the file ``name``, sets no limit."""
    limit = data.get(key)
    if limit is None:
        return None
    if not isinstance(limit, int | float):
        settings.refuse(name, f"asks for {key} {limit!r}, which is no number; repair it")
        return None
    return int(limit) if 0 < limit < _NO_LIMIT else None
