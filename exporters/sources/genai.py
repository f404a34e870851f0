"""onnxruntime-genai's folders as a source, and its builder as an exporter.

Such a folder holds a decoder's .onnx file, of onnxruntime's own operators, and a genai_config.json
that names it.
"""

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolkit.bundle.generation import GENAI_CONFIG
from toolkit.errors import InputError, MissingDependencyError
from toolkit.processes import run_program

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


def has_builder() -> bool:
    """Whether onnxruntime-genai's builder is installed."""
    # Finding the package's own module does not import it, which would load another onnxruntime.
    found = find_spec("onnxruntime_genai")
    places = [] if found is None else list(found.submodule_search_locations or ())
    return any((Path(place) / "models" / "builder.py").is_file() for place in places)


def build_with_genai(
    folder: Path, facts: Facts, out: Path, *, with_past: bool, trust: bool = False
) -> Path:
    """Build a decoder in float32 into ``out``, in a process of its own; the path of its model.

    Raises:
        MissingDependencyError: onnxruntime-genai is not installed.
        InputError: no decoder with a cache was asked for, or the builder does not take the model.
    """
    if facts.task != "text-generation" or not with_past:
        raise InputError(
            "the genai exporter makes decoders with a cache; add --with-past, or choose another"
        )
    if not has_builder():
        raise MissingDependencyError(
            "onnxruntime-genai is not installed; with transformers 4 "
            "`pip install --no-deps onnxruntime-genai==0.11.4`, with 5 a newer version"
        )
    call = [sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"]
    call += ["-i", str(folder), "-o", str(out), "-p", "fp32", "-e", "cpu"]
    call += ["-c", str(out.with_name("builder")), "--extra_options", f"hf_remote={trust}"]
    done = run_program(call, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    built = genai_model(out)
    if done.returncode or built is None:
        told = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise InputError(
            f"onnxruntime-genai's builder cannot take {folder.name} ({told[-1]}); choose another "
            "--exporter"
        )
    return built
