"""The original in one file, and what onnxruntime's own tools make of it: int8 and int4."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from toolkit.errors import InputError
from toolkit.files import write_aside
from toolkit.quiet import quiet

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
    model = onnx.load(source, format="protobuf")
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
    model = onnx.load(source, format="protobuf")
    _turn_matrices(model.graph)
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


def _turn_matrices(graph: onnx.GraphProto) -> None:
    """Transposes of stored matrices become matrices: the quantiser takes no others.

    A head that shares the token table is one, and would stay as large as it was.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    turned = [
        node
        for node in graph.node
        if node.op_type == "Transpose"
        and node.input[0] in stored
        and len(stored[node.input[0]].dims) == 2
        and all(list(attribute.ints) == [1, 0] for attribute in node.attribute)
    ]
    for node in turned:
        values = onnx.numpy_helper.to_array(stored[node.input[0]])
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.ascontiguousarray(values.T), node.output[0])
        )
        graph.node.remove(node)
    for name in {node.input[0] for node in turned} - set(_read(graph)):
        graph.initializer.remove(stored[name])


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the values that nodes read or the graph gives, branches included."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g)


_QUANTISERS = {"int8": _int8, "int4": _int4}
