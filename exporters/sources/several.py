"""Models of several .onnx files: an encoder, and a decoder with a cache.

Optimum writes speech and translation models so, transformers.js and optimum's classes read them:
``encoder_model.onnx``, and either ``decoder_model_merged.onnx``, whose two branches share their
weights, or ``decoder_model.onnx`` for the first token and ``decoder_with_past_model.onnx`` for all
others.
"""

from pathlib import Path

from toolkit.errors import InputError

TEXT_TO_TEXT, SPEECH = "text2text-generation", "automatic-speech-recognition"
ENCODER, MERGED = "encoder_model", "decoder_model_merged"
FIRST, NEXT = "decoder_model", "decoder_with_past_model"
_DECODERS = ((MERGED,), (FIRST, NEXT), (FIRST,))
_PLACES = ("", "onnx")  # in the folder itself, or as on the hub
_SUFFIXES = ("", "_fp16", "_quantized", "_int8", "_uint8", "_q4", "_bnb4", "_q4f16")


def is_several(task: str, *, with_past: bool) -> bool:
    """Whether a model for ``task`` becomes several files: speech always does."""
    return task == SPEECH or (task == TEXT_TO_TEXT and with_past)


def find_several(folder: Path) -> tuple[Path, ...]:
    """The files of such a model, the one that writes first; () where the folder holds none.

    Of several precisions the plain one is taken, else the first of transformers.js' words.
    """
    for place in _PLACES:
        for suffix in _SUFFIXES:
            encoder = folder / place / f"{ENCODER}{suffix}.onnx"
            for names in _DECODERS:
                decoders = [folder / place / f"{name}{suffix}.onnx" for name in names]
                if encoder.is_file() and all(path.is_file() for path in decoders):
                    return (*decoders, encoder)
    return ()


def plain_stem(path: Path) -> str:
    """The name that runtimes look for, without a precision's suffix."""
    for name in (MERGED, NEXT, FIRST, ENCODER):  # the longest first
        if path.stem.startswith(name):
            return name
    raise InputError(f"{path.name} is no part of an encoder-decoder; give its folder")
