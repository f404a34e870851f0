"""What a model folder says about itself: task, pooling, length limit, files worth shipping."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import json_files
from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

# The end of an architecture's class name -> the Hugging Face hub's word for its task.
_TASKS = {
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "feature-extraction",
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "Model": "feature-extraction",
}
# The same of models that have an encoder and a decoder.
_TEXT_TO_TEXT = ("ForConditionalGeneration", "MTModel")
_NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer knows no limit
# Their first position is the one after the padding id's, so some of the positions go unused.
_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xmod"}
# Modules of sentence-transformers that a bundle's pipeline stands for; dropout does nothing.
_MODULES = {"Transformer", "Pooling", "Normalize", "Dropout"}

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_SMALL_FILES = (
    CONFIG,
    "generation_config.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
# Needed only where there is no tokenizer.json, which holds all of it.
_SLOW_TOKENIZER_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)


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
    """

    task: str
    architecture: str | None
    pooling: Pooling | None
    max_length: int | None
    assets: tuple[str, ...]
    remote_code: bool = False
    model_type: str | None = None


def read_facts(folder: Path, *, is_onnx: bool = False) -> Facts:
    """Read a transformers or sentence-transformers folder.

    Args:
        folder: where the config files are.
        is_onnx: the model is ONNX already; an architecture that is unknown here does not matter.

    Raises:
        InputError: an architecture whose task is not known here, or a damaged file.
    """
    config = read_json(folder / "config.json")
    architectures = config.get("architectures") or [None]
    architecture = architectures[0] if isinstance(architectures, list) else architectures
    if not isinstance(architecture, str | None):
        raise InputError(f"{folder / 'config.json'} names architecture {architecture!r}; repair it")
    pooling, pooling_files = _pooling(folder)
    return Facts(
        task="feature-extraction" if pooling else _task(architecture, config, is_onnx),
        architecture=architecture,
        pooling=pooling,
        max_length=_max_length(folder, config),
        assets=tuple(name for name in (*_assets(folder), *pooling_files)),
        remote_code="auto_map" in config,
        model_type=config.get("model_type"),
    )


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
        return "text2text-generation"
    for ending, task in _TASKS.items():
        if architecture.endswith(ending):
            return task
    if is_onnx:
        return "feature-extraction"
    raise InputError(
        f"architecture {architecture} is not supported yet; export it to ONNX with another tool "
        "and give the .onnx file"
    )


def _pooling(folder: Path) -> tuple[Pooling | None, list[str]]:
    """From sentence-transformers' modules.json, with the config files that it points to."""
    path = folder / "modules.json"
    if not path.is_file():
        return None, []
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        kinds = {str(m["type"]).rsplit(".", 1)[-1]: str(m["path"]) for m in modules}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); download the model again") from error
    if "Pooling" not in kinds:
        return None, []
    unknown = next((kind for kind in kinds if kind not in _MODULES), None)
    if unknown is not None:
        raise InputError(
            f"{path} asks for a {unknown} module, which is not supported; remove that file to "
            "export the transformer without pooling"
        )
    name = f"{kinds['Pooling']}/config.json"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{path} leads out of its folder, to {name}; download the model again")
    config = read_json(folder / name)
    modes = [
        mode
        for mode, flag in (
            ("mean", "pooling_mode_mean_tokens"),
            ("cls", "pooling_mode_cls_token"),
            ("max", "pooling_mode_max_tokens"),
        )
        if config.get(flag) or config.get("pooling_mode") == mode
    ]
    if len(modes) != 1:
        raise InputError(
            f"{folder / name} asks for pooling {modes or 'of an unknown kind'}; one of mean, cls "
            "and max is supported"
        )
    return Pooling(modes[0], normalize="Normalize" in kinds), [name]


def _max_length(folder: Path, config: dict[str, Any]) -> int | None:
    positions = _limit(folder / "config.json", "max_position_embeddings")
    if positions is not None and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        positions -= config.get("pad_token_id", 1) + 1
    limits = (
        _limit(folder / "sentence_bert_config.json", "max_seq_length"),
        _limit(folder / "tokenizer_config.json", "model_max_length"),
        positions,
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(path: Path, key: str) -> int | None:
    """A number of tokens; None where the file sets no limit."""
    limit = read_json(path).get(key)
    if limit is None:
        return None
    if not isinstance(limit, int | float):
        raise InputError(f"{path} asks for {key} {limit!r}, which is no number; repair it")
    return int(limit) if 0 < limit < _NO_LIMIT else None


def _assets(folder: Path) -> list[str]:
    names = [name for name in _SMALL_FILES if (folder / name).is_file()]
    if (folder / TOKENIZER).is_file():
        return [*names, TOKENIZER]
    return names + [name for name in _SLOW_TOKENIZER_FILES if (folder / name).is_file()]
