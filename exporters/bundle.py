"""The bundle's folder: model, tokenizer, card, manifest."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from toolkit.manifest import MANIFEST_NAME, MODEL_NAME, Manifest, describe_files

from .card import model_card
from .source import LoadedModel

__all__ = ["MODEL_NAME", "model_nbytes", "write_bundle"]


def write_bundle(folder: Path, loaded: LoadedModel, manifest: Manifest) -> Manifest:
    """Complete a ``folder`` that holds the model: tokenizer, card, and last the manifest.

    Returns:
        The manifest with size and sha256 of every file.
    """
    for name in loaded.facts.assets:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loaded.folder / name, target)
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    complete = replace(manifest, files=describe_files(folder))
    (folder / MANIFEST_NAME).write_text(complete.to_json(), encoding="utf-8")
    return complete


def model_nbytes(path: Path) -> int:
    """Bytes of an .onnx file and of the external data files that it names."""
    external = {
        Path(tensor.path)
        for value in ir.load(path).graph.initializers.values()
        if isinstance(tensor := value.const_value, ir.ExternalTensor)
    }
    return path.stat().st_size + sum(file.stat().st_size for file in external)
