"""Which files of a model's folder travel into the bundle: settings, and the tokenizer's own."""

from pathlib import Path

from toolkit.inside import is_hidden

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
MODULES = "modules.json"
LENGTHS = "sentence_bert_config.json"
SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
COLBERT_FILES = ("onnx_config.json", "artifact.metadata")
"""What PyLate's exporter to ONNX, and colbert-ir, write beside a ColBERT model."""

_SETTINGS = (
    CONFIG,
    "generation_config.json",
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    "chat_template.jinja",
    "chat_template.json",
    MODULES,
    LENGTHS,
    SENTENCE_TRANSFORMERS,
    *COLBERT_FILES,
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "normalizer.json",
)
# By the names that transformers' tokenizers give them. A tokenizer.json holds all of the first.
_IN_TOKENIZER_JSON = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "encoder.json",
    "*.bpe",
    "*.model",  # sentencepiece: spm.model, spiece.model, tokenizer.model, ...
    "*.tiktoken",
    "tekken.json",
)
# Classes that read these have no form in tokenizer.json.
_SLOW_ALONE = (
    "*.spm",
    "bpe.codes",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "byte_maps.json",
    "prophetnet.tokenizer",
    "vocab-src.json",
    "vocab-tgt.json",
    "target_vocab.json",
)
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Patterns of the files that hold a model's weights."""
HUB_PATTERNS = (
    COLBERT_FILES[1],
    "*.spm",
    "*.codes",
    "*.tiktoken",
    "*.bpe",
    "*.tokenizer",
)
"""What a download needs beside every ``.json``, ``.txt`` and ``.model`` file."""


def setting_files(folder: Path) -> list[str]:
    """Names of the files of settings that are there."""
    return [name for name in _SETTINGS if (folder / name).is_file()]


def tokenizer_files(folder: Path) -> list[str]:
    """Names of the files that a tokenizer is read from; [] where there is no tokenizer."""
    slow = slow_files(folder)
    if (folder / TOKENIZER).is_file() and not slow:
        return [TOKENIZER]
    fast = [TOKENIZER] if (folder / TOKENIZER).is_file() else []
    return [*fast, *replaced_files(folder), *slow]


def slow_files(folder: Path) -> list[str]:
    """Names of the files of a tokenizer that has no form in tokenizer.json."""
    return found_by(folder, _SLOW_ALONE)


def replaced_files(folder: Path) -> list[str]:
    """Names of the files whose tokens are all in tokenizer.json too."""
    return found_by(folder, _IN_TOKENIZER_JSON)


def found_by(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Names of files in ``folder`` itself that any of ``patterns`` fits, in order."""
    names = {path.name for p in patterns for path in folder.glob(p) if path.is_file()}
    return sorted(name for name in names if not is_hidden(name))
