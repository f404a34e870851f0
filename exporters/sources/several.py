"""Models of several .onnx files, by the names that runtimes look for.

Three kinds. Speech and translation models as optimum writes them: ``encoder_model.onnx``, and
either ``decoder_model_merged.onnx``, whose two branches share their weights, or
``decoder_model.onnx`` for the first token and ``decoder_with_past_model.onnx`` for all others.
Models of images and text as transformers.js reads them: ``embed_tokens.onnx`` looks rows up, a
decoder takes these rows, and further files encode images or sound. And what a
``genai_config.json`` names.
"""

from pathlib import Path

from toolkit.bundle.generation import GENAI_CONFIG
from toolkit.errors import InputError
from toolkit.inside import leads_out
from toolkit.json_files import read_json

TEXT_TO_TEXT, SPEECH = "text2text-generation", "automatic-speech-recognition"
IMAGE_TEXT = "image-text-to-text"
ENCODER, MERGED = "encoder_model", "decoder_model_merged"
FIRST, NEXT = "decoder_model", "decoder_with_past_model"
ROWS = "embed_tokens"  # looks up the rows that the decoder takes as inputs_embeds
_DECODERS = ((MERGED,), (FIRST, NEXT), (FIRST,))
_PLACES = ("", "onnx")  # in the folder itself, or as on the hub
_SUFFIXES = ("", "_fp16", "_quantized", "_int8", "_uint8", "_q4", "_bnb4", "_q4f16")


def is_several(task: str, *, with_past: bool) -> bool:
    """Whether a model for ``task`` becomes several files: speech always does."""
    return task == SPEECH or (task == TEXT_TO_TEXT and with_past)


def find_several(folder: Path) -> tuple[Path, ...]:
    """The files of such a model, the one with the token table first; () where there are none.

    Of several precisions the plain one is taken, else the first of transformers.js' words.

    Raises:
        InputError: a damaged genai_config.json.
    """
    named = named_by_genai(folder)
    if named:
        return named
    for place in _PLACES:
        for suffix in _SUFFIXES:
            found = _around_rows(folder / place, suffix) or _pair(folder / place, suffix)
            if found:
                return found
    return ()


def takes_rows(files: tuple[Path, ...]) -> bool:
    """Whether the first of ``files`` looks rows up for the decoder behind it."""
    return bool(files) and (plain_stem(files[0]) == ROWS or files[:1] == _embedding(files[0]))


def named_by_genai(folder: Path) -> tuple[Path, ...]:
    """The files that a genai_config.json names, where these are several; else ()."""
    parts = _parts(folder)
    first = next((parts[name] for name in ("embedding", "decoder") if name in parts), None)
    names = [] if first is None else list(dict.fromkeys([first, *parts.values()]))
    files = tuple(folder / name for name in names)
    return files if len(files) > 1 and all(path.is_file() for path in files) else ()


def plain_stem(path: Path) -> str:
    """The name that runtimes look for, without a precision's suffix."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if suffix and path.stem.endswith(suffix):
            return path.stem.removesuffix(suffix)
    return path.stem


def _pair(place: Path, suffix: str) -> tuple[Path, ...]:
    """An encoder with its decoder or decoders, all of one precision."""
    encoder = place / f"{ENCODER}{suffix}.onnx"
    for names in _DECODERS:
        decoders = [place / f"{name}{suffix}.onnx" for name in names]
        if encoder.is_file() and all(path.is_file() for path in decoders):
            return (*decoders, encoder)
    return ()


def _around_rows(place: Path, suffix: str) -> tuple[Path, ...]:
    """The file that looks rows up, the decoder, and all others, each once."""
    first = place / f"{ROWS}{suffix}.onnx"
    if not first.is_file():
        return ()
    files = {plain_stem(path): path for path in sorted(place.glob("*.onnx"))}
    for stem in files:
        choices = [place / f"{stem}{each}.onnx" for each in (suffix, *_SUFFIXES)]
        files[stem] = next(path for path in choices if path.is_file())
    decoders = [files.pop(name) for name in (MERGED, FIRST) if name in files]
    del files[ROWS]
    others = [files[stem] for stem in sorted(files) if stem not in (NEXT, "model")]
    return (first, decoders[0], *others) if decoders else ()


def _embedding(path: Path) -> tuple[Path, ...]:
    """The file that looks rows up, as a genai_config.json beside ``path`` names it."""
    name = _parts(path.parent).get("embedding")
    return () if name is None else (path.parent / name,)


def _parts(folder: Path) -> dict[str, str]:
    """The file of each part of a model, by onnxruntime-genai's word for the part."""
    path = folder / GENAI_CONFIG
    config = read_json(path, error=InputError, remedy="download the model again").get("model")
    found = {
        str(word): part["filename"]
        for word, part in (config.items() if isinstance(config, dict) else ())
        if isinstance(part, dict) and isinstance(part.get("filename"), str)
    }
    for name in found.values():
        if leads_out(name):
            raise InputError(f"{path} names {name!r}, which leads out of its folder; repair it")
    return found
