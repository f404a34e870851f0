"""What a folder says about the text that its decoder writes: which tokens end it."""

from pathlib import Path

from ..errors import LightTokenError
from ..json_files import read_json

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
GENAI_CONFIG = "genai_config.json"  # of onnxruntime-genai


def end_ids(
    folder: Path, *, error: type[LightTokenError], remedy: str = "copy it again"
) -> tuple[int, ...]:
    """Ids of the tokens that end a text, each once; () where no file names one.

    Those of generation_config.json come first, then those of config.json, then what
    onnxruntime-genai is told: its own folders have neither of the two.

    Raises:
        LightTokenError: of type ``error``; a file is damaged, see
            :func:`toolkit.json_files.read_json`.
    """
    found: list[int] = []
    for name in (GENERATION_CONFIG, CONFIG, GENAI_CONFIG):
        told = read_json(folder / name, error=error, remedy=remedy)
        if name == GENAI_CONFIG:
            model = told.get("model")
            told = model if isinstance(model, dict) else {}
        found += ids_of(told.get("eos_token_id"))
    return tuple(dict.fromkeys(found))


def ids_of(value: object) -> list[int]:
    """One id, several or none, as configuration files have them, as a list."""
    values = value if isinstance(value, list) else [value]
    return [id_ for id_ in values if isinstance(id_, int) and not isinstance(id_, bool)]
