"""The original in one file, and what onnxruntime's own tools make of it: int8 and int4."""

from pathlib import Path

import onnx

from toolkit.errors import InputError
from toolkit.files import write_aside

from ..quiet import quiet

WORDS = ("original", "int8", "int4")
"""What ``--against`` may say in place of a path or a hub id."""
_MOST_IN_ONE_FILE = 2_000_000_000  # bytes; protobuf's limit is a little above
_GROUP_SIZE = 32


def made_of(word: str, original: Path, work: Path, *, called: str) -> Path:
    """One of :data:`WORDS`, made of the .onnx file ``original``, as ``work/WORD.onnx``.

    ``original`` is the model in one file, as hubs hand models out; ``int8`` is dynamic
    quantisation, a scale for each column; ``int4`` is ``MatMulNBits`` with
    ``GatherBlockQuantized``, 32 numbers to a scale. A file that is there already is taken.

    Args:
        word: what is wanted.
        original: with its external data beside it.
        work: an existing folder.
        called: what errors call the original.

    Returns:
        The file; ``original`` itself where it is too large for one.

    Raises:
        InputError: onnxruntime's tools refuse the model.
    """
    path = work / f"{word}.onnx"
    if path.is_file():
        return path
    if word == "original":
        return in_one_file(original, path)
    source = made_of("original", original, work, called=called)
    try:
        with write_aside(path) as aside, quiet():
            _QUANTISERS[word](source, aside)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"onnxruntime's tools make no {word} of {called} ({error}); leave it out"
        ) from error
    return path


def in_one_file(source: Path, path: Path) -> Path:
    """The model with its weights inside ``path``, as hubs hand models out; itself if too large."""
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
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(
        block_size=_GROUP_SIZE,
        accuracy_level=4,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


_QUANTISERS = {"int8": _int8, "int4": _int4}
