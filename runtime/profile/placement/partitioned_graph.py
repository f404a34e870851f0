"""The graph that onnxruntime divides among execution providers, read through onnx-ir.

onnxruntime inlines functions and folds constants before it asks providers what they take. So the
graph here is onnxruntime's own copy after these steps (the basic level), with its names.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from toolkit.errors import FormatError, InputError
from toolkit.graph.forms import constant
from toolkit.graph.load import load_graph
from toolkit.ort import ORT_ERRORS, one_line
from toolkit.temporary import temporary_folder

from ...native import register
from ...providers import CPU

_FATAL_ONLY = 4  # onnxruntime's log severity
_EXTERNAL_FROM = "1024"  # bytes: smaller tensors stay in the file, larger ones beside it
_TENSOR = re.compile(r"^tensor\((\w+)\)$")
_Type = tuple[ir.DataType, ir.Shape]
_SHAPE_MAKERS = ("Shape", "Size")
_WHOLE = frozenset(
    [ir.DataType.BOOL, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT32, ir.DataType.UINT64]
)


@contextlib.contextmanager
def partitioned_graph(
    model: Path, *, dimensions: Mapping[str, int] | None = None, native: bool = False
) -> Iterator[ir.Graph]:
    """The graph as providers see it; its tensors can be read inside the block only.

    The weights are copied to a temporary folder meanwhile, which takes as much disk as they do.

    Args:
        model: an ``.onnx`` file.
        dimensions: sizes of symbolic dimensions, as the session had them.
        native: keep the nodes that the native kernel takes, instead of their functions' bodies.

    Raises:
        InputError: an ``.ort`` file, or no native kernel here.
        FormatError: onnxruntime cannot load the model.
    """
    if model.suffix == ".ort":
        raise InputError(
            f"{model} is an .ort file, whose graph cannot be read; give the .onnx file that it "
            "was made from"
        )
    with temporary_folder("lighttoken-") as folder:
        copy = folder / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(copy)
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{prefix}_file_name", "model.data")
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", _EXTERNAL_FROM)
        for name, size in (dimensions or {}).items():
            options.add_free_dimension_override_by_name(name, size)
        if native and not register(options):
            raise InputError(
                "the native kernel is not built, and this graph uses it; "
                "build it with `lighttoken op`, or profile with --no-op"
            )
        try:
            onnxruntime.InferenceSession(str(model), options, providers=[CPU])
            told = _inferred_types(copy, native)
        except ORT_ERRORS as error:
            raise FormatError(
                f"{model} cannot be loaded: {one_line(error)}; export the model again"
            ) from error
        graph = ir.load(copy).graph
        for node in graph:
            for value in node.outputs:
                if value.name in told:
                    value.dtype, value.shape = told[value.name]
        yield graph


def _inferred_types(copy: Path, native: bool) -> dict[str, _Type]:
    """Type and shape of every value, by name, as onnxruntime infers them for its operators too.

    A session tells types and shapes of its outputs only, so all values are made outputs.
    """
    model = onnx.load(copy, format="protobuf", load_external_data=False)
    kept = {output.name for output in model.graph.output}
    inside = {name for node in model.graph.node for name in node.output if name} - kept
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(inside))
    every = copy.with_name("values.onnx")
    every.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    if native:
        register(options)
    session = onnxruntime.InferenceSession(str(every), options, providers=[CPU])
    told: dict[str, _Type] = {}
    for output in session.get_outputs():
        tensor = _TENSOR.match(output.type)
        if tensor is not None:
            told[output.name] = ir.DataType[tensor.group(1).upper()], ir.Shape(output.shape)
    return told


def read_graph(model: Path) -> ir.Model:
    """The model as it stands in the file; external tensors stay there until they are read.

    Raises:
        FormatError: no ONNX file.
    """
    try:
        return load_graph(model)
    except InputError as error:
        raise FormatError(str(error)) from error


def type_name(value: ir.Value | None) -> str:
    """Element type in ONNX's words, as ``uint8`` or ``float``; empty where it is not known."""
    dtype = None
    if value is not None:
        held = constant(value)
        dtype = held.dtype if held is not None else value.dtype
    return "" if dtype is None else dtype.name.lower()


def sizes(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """The dimensions, None for a symbolic one; None where the rank is unknown too."""
    if value is None:
        return None
    held = constant(value)
    shape = held.shape if held is not None else value.shape
    if shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in shape)


def is_free(value: ir.Value) -> bool:
    """Whether it has a symbolic dimension, or an unknown shape."""
    shape = sizes(value)
    return shape is None or None in shape


def value_bytes(value: ir.Value) -> int | None:
    """Bytes of one value, None where its type or a dimension is not known."""
    shape, dtype = sizes(value), value.dtype
    if shape is None or dtype is None:
        return None
    count = 1
    for size in shape:
        if size is None:
            return None
        count *= size
    return -(-count * dtype.bitwidth // 8)


def shape_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Shape arithmetic: integers that follow from the inputs' shapes and constants alone.

    onnxruntime keeps most of these on the CPU on purpose, whichever provider runs the rest.
    """
    found: set[ir.Node] = set()
    for node in graph:
        read = [value for value in node.inputs if value is not None and constant(value) is None]
        follows = bool(read) and all(value.producer() in found for value in read)
        whole = all(value.dtype in _WHOLE for value in node.outputs if value.name)
        if not node.domain and (node.op_type in _SHAPE_MAKERS or (follows and whole)):
            found.add(node)
    return found
