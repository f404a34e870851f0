"""The files that ``profile`` measures beside a bundle."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from toolkit.bundle.manifest import MANIFEST_NAME, Manifest
from toolkit.errors import InputError
from toolkit.graph.files import model_files

from ..passes.keep_last_logits import KeepLastLogits
from .originals import find_original, original_onnx, recall
from .quantised import WORDS, made_of


def files_beside(
    manifest: Manifest | None,
    against: Sequence[str],
    original: str | None,
    work: Path,
    *,
    trust_remote_code: bool,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """What ``--against`` names, in its order; the original where it names nothing.

    Args:
        manifest: the bundle's; None for a bare model, which is measured beside paths alone.
        against: words, bundles, .onnx files, folders, hub ids.
        original: where the original is, if the cache does not know it.
        work: a folder for models that are made on the way.
        trust_remote_code: run Python code that a model brings.
        tell: told if the original is not what the bundle was made from.

    Returns:
        Bundle folders and .onnx files. None at all if the original alone would be one, and nobody
        knows where it is.

    Raises:
        InputError: a model that is not there, or that cannot be made.
    """
    if manifest is None:
        for word in against:
            if not Path(word).exists():
                raise InputError(
                    f"--against {word} is made of a bundle's original, and BUNDLE is a bare model; "
                    "give paths of models"
                )
        return [Path(word) for word in against]
    if not against:
        if original is None and recall(manifest) is None:
            return []
        against = ("original",)
    return [
        file_beside(
            word,
            manifest,
            original,
            work if word in WORDS else work / str(index),
            trust_remote_code=trust_remote_code,
            tell=tell,
        )
        for index, word in enumerate(against)
    ]


def file_beside(
    word: str,
    manifest: Manifest,
    original: str | None,
    work: Path,
    *,
    trust_remote_code: bool,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """The model that ``word`` names: a bundle folder, or an ``.onnx`` file, made under ``work``.

    Raises:
        InputError: no source of the original is known, or onnxruntime's tools refuse it.
    """
    if word not in WORDS:
        if (Path(word) / MANIFEST_NAME).is_file():
            return Path(word)
        return _original(manifest, word, work, trust_remote_code)
    if (path := work / f"{word}.onnx").is_file():
        return path
    given = find_original(manifest, original, recall(manifest))
    source = work / "original.onnx"  # another word's, which is not exported again
    if not source.is_file():
        exported = work / "exported"
        exported.mkdir(parents=True, exist_ok=True)
        source = _original(manifest, given, exported, trust_remote_code, tell)
    return made_of(word, source, work, called=given)


def _original(
    manifest: Manifest,
    given: str,
    work: Path,
    trust: bool,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """The model ``given``; a decoder with a cache where the bundle is one.

    It gets the input for the last logits alone too, as most exporters give it: else its time to
    the first token would be that of a whole prompt's logits.
    """
    path = original_onnx(
        manifest, given, work, trust_remote_code=trust, with_past=manifest.cached, tell=tell
    ).path
    if not manifest.cached or path.suffix != ".onnx" or work not in path.parents:
        return path
    model = ir.load(path)
    if not KeepLastLogits()(model).modified:
        return path
    kept = path.parent / "last_logits.onnx"
    ir.save(model, kept, external_data=f"{kept.name}.data")
    for old in model_files(path):
        old.unlink()
    return kept
