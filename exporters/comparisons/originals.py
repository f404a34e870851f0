"""Where the models that were exported came from, kept for later comparisons.

A bundle travels, so its manifest names no path. But on the machine that made it, ``evaluate`` and
``profile`` should find the original without being told: in the user's cache a small file for each,
named by the sha256 of the weights, holds the source as it was given. A file of its own for each
means that exports at the same time do not undo each other's.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit.bundle.manifest import MANIFEST_NAME, Manifest, Source, read_manifest
from toolkit.errors import InputError
from toolkit.files import user_cache, write_aside
from toolkit.json_files import load_json
from toolkit.json_text import json_text
from toolkit.links import without_links

from ..sources.source import load_source
from ..vocabulary.choose import Wanted

_DIGEST = re.compile("[0-9a-f]{1,128}")
_NO_CACHE = (OSError, ValueError, RuntimeError)  # unreadable, no JSON, and no home folder


def remember(source: Source, given: str) -> None:
    """Note where ``source`` is; a cache that cannot be written is no reason to fail."""
    with contextlib.suppress(*_NO_CACHE):
        file = _file(source.sha256)
        if file is None:
            return
        path = Path(given).expanduser()
        place = str(path.absolute()) if path.exists() else given
        file.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(file) as aside:
            aside.write_text(json_text({"source": place}), encoding="utf-8")


def recall(manifest: Manifest) -> str | None:
    """The source of a bundle, if it was exported here.

    Never what the manifest alone names: whoever made the bundle chose that, and nothing is fetched
    at a stranger's word.
    """
    found = _read(manifest.source.sha256)
    with contextlib.suppress(*_NO_CACHE):
        if found is not None and (Path(found).exists() or manifest.source.kind == "hub"):
            return found
    return None


def find_original(manifest: Manifest, *named: str | None) -> str:
    """Where the original is: the first of ``named`` that is not None, in the order that counts.

    Raises:
        InputError: all are None, so no source is known.
    """
    for given in named:
        if given is not None:
            return given
    raise InputError(
        f"the original of this bundle ({manifest.source.name}) is not known on this machine; "
        "give it with --original (a folder, a hub id or an .onnx file)"
    )


@dataclass(frozen=True)
class OriginalModel:
    """The model that a bundle was made from: an .onnx file, and what reads texts for it.

    Attributes:
        path: of the file.
        folder: where its tokenizer is; None for the bundle's own, which is the same unless the
            bundle's vocabulary was cut.
    """

    path: Path
    folder: Path | None = None


def original_onnx(
    manifest: Manifest,
    given: str,
    work: Path,
    *,
    trust_remote_code: bool = False,
    with_past: bool = False,
    like: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> OriginalModel:
    """The model ``given`` as an .onnx file, exported under ``work`` as the bundle's was.

    Args:
        manifest: the bundle's.
        given: a folder, a hub id, an .onnx file, or another bundle.
        work: a folder for what is made.
        trust_remote_code: run Python code that the model brings.
        with_past: a decoder that is exported has a cache; what is ONNX already stays as it is.
        like: of a bundle whose vocabulary was cut its tokenizer.json: the original's is cut so too.
        tell: told if it is not the file that the bundle was made from.

    Raises:
        InputError: nothing is there, or no exporter takes it.
    """
    path = Path(given).expanduser()
    if (path / MANIFEST_NAME).is_file():
        other = read_manifest(path)
        same = other.vocabulary == manifest.vocabulary
        return OriginalModel(without_links(path / other.model, work), None if same else path)
    is_onnx = path.is_file() or manifest.exporter == "none"
    exporter = manifest.exporter if manifest.exporter != "none" else "auto"
    loaded = load_source(
        given,
        work,
        exporter=exporter,
        revision=manifest.source.revision,
        trust_remote_code=trust_remote_code,
        # genai makes no decoders without one.
        with_past=exporter == "genai" or (with_past and not is_onnx),
        wanted=None if like is None else Wanted(like=like),
    )
    if tell is not None and loaded.source.sha256 != manifest.source.sha256:
        tell(
            f"{given} is not what the bundle was made from (its sha256 differs from that of "
            f"{manifest.source.name}): if it is another model, differences are not the price of "
            "compression"
        )
    return OriginalModel(loaded.path, None if manifest.vocabulary is None else loaded.folder)


def _file(sha256: str) -> Path | None:
    """The entry of these weights; None where a manifest of others has no digest there."""
    return user_cache() / "originals" / f"{sha256}.json" if _DIGEST.fullmatch(sha256) else None


def _read(sha256: str) -> str | None:
    """Where they are; None where nothing is noted, or nothing that can be read."""
    with contextlib.suppress(*_NO_CACHE):
        file = _file(sha256)
        held = load_json(file) if file is not None else None
        if isinstance(held, dict) and isinstance(held.get("source"), str):
            return str(held["source"])
    return _read_old().get(sha256)


def _read_old() -> dict[str, str]:
    """One file of all, as older versions wrote it."""
    with contextlib.suppress(*_NO_CACHE):
        data = load_json(user_cache() / "originals.json")
        if isinstance(data, dict):
            return {str(key): str(value) for key, value in data.items()}
    return {}
