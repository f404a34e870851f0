"""A folder of onnxruntime-genai: a decoder's .onnx file and the genai_config.json that names it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.bundle.generation import GENAI_CONFIG
from toolkit.errors import InputError

from .facts import Facts, read_json


def genai_model(folder: Path) -> Path | None:
    """The model file of a folder of onnxruntime-genai; None of any other folder.

    Raises:
        InputError: the file is not there, or the model is more than one file.
    """
    path = folder / GENAI_CONFIG
    if not path.is_file():
        return None
    name = _decoder(read_json(path)).get("filename")
    if not isinstance(name, str):
        raise InputError(
            f"{path} names no decoder of one file; give the .onnx file with the token table"
        )
    if not (folder / name).is_file():
        raise InputError(f"{path} names {name}, which is not in its folder; copy it there")
    return folder / name


def genai_facts(facts: Facts, folder: Path) -> Facts:
    """With what genai_config.json says, where it is there: it is a decoder, of such a length."""
    if not (folder / GENAI_CONFIG).is_file():
        return facts
    config = read_json(folder / GENAI_CONFIG)
    model = config.get("model")
    length = model.get("context_length") if isinstance(model, dict) else None
    return replace(
        facts,
        task="text-generation",
        max_length=facts.max_length or (length if isinstance(length, int) else None),
    )


def _decoder(config: dict[str, Any]) -> dict[str, Any]:
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    return decoder if isinstance(decoder, dict) else {}
