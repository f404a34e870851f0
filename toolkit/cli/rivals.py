"""What a bundle is measured against: the original, and what onnxruntime's own tools make of it."""

from pathlib import Path

from toolkit.bundle.manifest import MANIFEST_NAME, Manifest
from toolkit.errors import InputError
from toolkit.files import write_aside

from .originals import original_onnx

WORDS = ("original", "int8", "int4")
_MOST_IN_ONE_FILE = 2_000_000_000  # bytes; protobuf's limit is a little above
_BLOCK = 32


def rival(
    word: str, manifest: Manifest, original: str | None, work: Path, *, trust_remote_code: bool
) -> Path:
    """The model that ``--against`` names, as a bundle folder or an ``.onnx`` file under ``work``.

    ``original`` is the uncompressed model in one file, as it is usually handed out; ``int8`` and
    ``int4`` are made of it by onnxruntime: dynamic quantisation, each column its scale; and
    ``MatMulNBits`` with ``GatherBlockQuantized``, 32 numbers to a scale. Another word is a bundle,
    a model file, a folder or a hub id.

    Raises:
        InputError: nobody knows where the original is, or onnxruntime's tools refuse it.
    """
    if word not in WORDS:
        if (Path(word) / MANIFEST_NAME).is_file():
            return Path(word)
        return original_onnx(manifest, word, work, trust_remote_code=trust_remote_code)
    path = work / f"{word}.onnx"
    if path.is_file():
        return path
    if word == "original":
        exported = work / "exported"
        exported.mkdir(parents=True, exist_ok=True)
        given = original_onnx(manifest, original, exported, trust_remote_code=trust_remote_code)
        return in_one_file(given, path)
    source = rival("original", manifest, original, work, trust_remote_code=trust_remote_code)
    quantise(word, source, path, of=source.name)
    return path


def quantise(word: str, source: Path, path: Path, *, of: str) -> None:
    """Write what onnxruntime's tools make of a model ``source``, called ``of`` in errors.

    Raises:
        InputError: they refuse it.
    """
    from exporters.quiet import quiet

    try:
        with write_aside(path) as aside, quiet():
            QUANTISERS[word](source, aside)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"onnxruntime's tools make no {word} of {of} ({error}); leave it out"
        ) from error


def in_one_file(source: Path, path: Path) -> Path:
    """The model with its weights inside ``path``, as hubs hand models out; itself if too large."""
    import onnx

    model = onnx.load(source)
    if model.ByteSize() > _MOST_IN_ONE_FILE:
        return source
    with write_aside(path) as aside:
        onnx.save(model, aside)
    return path


def _int8(source: Path, path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, path, per_channel=True)


def _int4(source: Path, path: Path) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK,
        accuracy_level=4,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


QUANTISERS = {"int8": _int8, "int4": _int4}
"""``QUANTISERS[word](source, path)``: what onnxruntime's tools make of a model."""
