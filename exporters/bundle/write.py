"""The bundle's folder: model, tokenizer, card, manifest."""

import shutil
from dataclasses import replace
from pathlib import Path

from toolkit.bundle.manifest import MANIFEST_NAME, Manifest, StoredFile, describe_files
from toolkit.files import sha256
from toolkit.json_text import json_text

from ..sources.facts import CONFIG, read_json
from ..sources.licence import CARD
from ..sources.source import LoadedModel
from .card import model_card
from .structure import Structure, structure_of


def write_bundle(
    folder: Path, loaded: LoadedModel, manifest: Manifest, *, genai: str | None = None
) -> Manifest:
    """Complete a ``folder`` that holds the model: tokenizer, card, and last the manifest.

    ``genai``: as :func:`.card.model_card` takes it.

    Returns:
        The manifest with size and sha256 of every file.
    """
    for name in loaded.facts.assets:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loaded.folder / name, target)
    structure = structure_of(manifest)
    if structure.settings:
        _tell_transformers_js(folder / CONFIG, structure)
    files = describe_files(folder)
    card = folder / CARD
    facts = loaded.facts
    card.write_text(
        model_card(
            replace(manifest, files=files),
            genai=genai,
            notes=facts.notes,
            vector=facts.vector,
            licence=facts.licence,
        ),
        encoding="utf-8",
    )
    files[CARD] = StoredFile(card.stat().st_size, sha256(card))
    complete = replace(manifest, files=files)
    (folder / MANIFEST_NAME).write_text(complete.to_json(), encoding="utf-8")
    return complete


def _tell_transformers_js(path: Path, structure: Structure) -> None:
    """What the source told it of other files (such as quantised ones) does not hold here."""
    config = read_json(path) | {"transformers.js_config": dict(structure.settings)}
    path.write_text(json_text(config) + "\n", encoding="utf-8")
