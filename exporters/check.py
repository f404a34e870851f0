"""What is proved after every export, on the files as written."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.errors import LightTokenError
from toolkit.feeds import build_feeds
from toolkit.manifest import Parity
from toolkit.tensors import TensorInfo, describe

from .find import TableUse, find_tables
from .heads import find_heads

# Largest difference allowed, times the largest output: float additions in another order. Shorter
# floats may round to a neighbour, so that they get some units in the last place.
TOLERANCE = 1e-4
_LAST_PLACES = 4
_SHAPES = ((1, 8), (3, 21))  # batch and length; neither is what the exporters trace with
_IDS_AT_ONCE = 4096
_ROWS = "rows.as.float"  # numpy knows no bfloat16
_OPTIMIZED = "optimized.onnx"
_OPTIMIZED_DATA = "optimized.onnx.data"


class CheckError(LightTokenError):
    """The exported model is not what it should be; nothing is written."""


def check_model(
    compressed: Path,
    original: Path,
    table: str,
    embedding: CompressedEmbedding,
    *,
    tied: bool,
    heads: bool = False,
) -> Parity:
    """Run every check.

    Args:
        compressed: the rewritten model.
        original: the model before.
        table: the initializer that was replaced.
        embedding: what it was replaced by.
        tied: the dense table stays in the graph for another reader.
        heads: the output heads that share the table read the packed one too.

    Raises:
        CheckError: a check fails; the message gives the figure. Or onnxruntime cannot run a model.
    """
    try:
        return _check(compressed, original, table, embedding, tied, heads)
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime."):
            raise
        reason = " ".join(str(error).split())[:300]
        raise CheckError(f"onnxruntime cannot run the model: {reason}") from error


def _check(
    compressed: Path,
    original: Path,
    table: str,
    embedding: CompressedEmbedding,
    tied: bool,
    heads: bool,
) -> Parity:
    _check_onnx(compressed)
    check_stays_packed(compressed, table, embedding, tied=tied, heads=heads)
    use = _use(ir.load(original).graph, table)
    assert use.value.dtype is not None
    epsilon = float(ml_dtypes.finfo(use.value.dtype.numpy()).eps)  # type: ignore[no-untyped-call]
    tolerance = max(TOLERANCE, _LAST_PLACES * epsilon)
    lookup, largest = _lookup_difference(compressed, use, embedding)
    with tempfile.TemporaryDirectory() as folder:
        replaced = _with_table(original, table, embedding, Path(folder), heads=heads)
        rewrite, scale = _largest_difference(compressed, replaced, use)
    price, _ = _largest_difference(compressed, original, use)
    for what, difference, size in (
        ("the decode graph and lookup()", lookup, largest),
        ("the rewritten model and the original with its table replaced", rewrite, scale),
    ):
        limit = tolerance * max(1.0, size)
        if not difference <= limit:
            raise CheckError(f"{what} differ by {difference:.3g}, more than {limit:.3g}")
    return Parity(lookup=lookup, rewrite=rewrite, compression=price)


def _check_onnx(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise CheckError(f"onnx.checker refuses the model: {str(error).splitlines()[0]}") from error


def check_stays_packed(
    path: Path, table: str, embedding: CompressedEmbedding, *, tied: bool, heads: bool = False
) -> None:
    """The dense table is in neither the file nor the graph that onnxruntime makes of it.

    onnxruntime folds constants when it loads a model; an unpacking that it can fold would undo the
    compression in memory while the file stays small. So its optimised graph is inspected too.

    Raises:
        CheckError: a tensor as large as the table is left, or the optimised graph has grown.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / _OPTIMIZED
        options = _options()
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", _OPTIMIZED_DATA
        )
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        before, after = _entries(path), _entries(optimized)
        if tied:
            return
        entries = embedding.rows * embedding.width
        if table in before:
            raise CheckError(f"the file still holds a dense table, {table}")
        # Other weights may be as large, such as an output head of its own.
        stored, loaded = (
            [name for name, count in sizes.items() if count == entries] for sizes in (before, after)
        )
        if len(loaded) > len(stored):
            new = next(name for name in loaded if name not in stored)
            raise CheckError(f"onnxruntime's graph holds a dense table, {new}")
        # Entries, not bytes: a CPU without float16 turns such weights into float32, one for one.
        grown = sum(after.values()) - sum(before.values())
        if grown > entries // 4 + (_decoder_entries(embedding) if heads else 0):
            raise CheckError(
                f"onnxruntime unpacks at load: its graph holds {grown:,} numbers more than the file"
            )


def _decoder_entries(embedding: CompressedEmbedding) -> int:
    """Numbers beside the codes that a head wants in float: decoders, and some for each row."""
    by_row = ("codes", "left", "starts")
    sizes = (array.size for name, array in embedding.tensors() if not name.endswith(by_row))
    return sum(sizes) + 2048 + 4 * embedding.rows  # and the table of signs


def _entries(path: Path) -> dict[str, int]:
    """How many numbers each initializer holds."""
    graph = ir.load(path).graph
    return {
        name: tensor.size
        for name, value in graph.initializers.items()
        if (tensor := value.const_value) is not None
    }


def _lookup_difference(
    path: Path, use: TableUse, embedding: CompressedEmbedding
) -> tuple[float, float]:
    """Largest difference between the file's rows and ``lookup``, over every id; largest value."""
    difference, scale = 0.0, 0.0
    for gather in use.gathers:
        session = _session(_rows_model(path, gather).SerializeToString())
        for start in range(0, embedding.rows, _IDS_AT_ONCE):
            ids = np.arange(start, min(start + _IDS_AT_ONCE, embedding.rows))
            rows = session.run(None, {session.get_inputs()[0].name: ids})[0]
            wanted = embedding.lookup(ids)
            difference = max(difference, _max_difference(rows, wanted))
            scale = max(scale, _max_finite(wanted))
    return difference, scale


def _rows_model(path: Path, gather: ir.Node) -> onnx.ModelProto:
    """The part of the file that took the place of ``gather``, as a model: ids [n] -> rows [n, d].

    The rewrite leaves the names of what goes in and what comes out as they were.
    """
    model = ir.load(path)
    ids, rows = gather.inputs[1], gather.outputs[0]
    assert ids is not None
    assert ids.name is not None
    assert rows.name is not None
    nodes = list(model.graph.all_nodes())
    makers = {value.name: node for node in nodes for value in node.outputs}
    needed: set[ir.Node] = set()
    stored: dict[str, onnx.TensorProto] = {}
    wanted: list[str | None] = [rows.name]
    while wanted:
        name = wanted.pop()
        if name == ids.name or name is None:
            continue
        if name in makers:
            needed.add(makers[name])
            wanted += [value.name for value in makers[name].inputs if value is not None]
        elif (tensor := model.graph.initializers[name].const_value) is not None:
            stored[name] = onnx.numpy_helper.from_array(tensor.numpy(), name)
    graph = onnx.helper.make_graph(
        [
            *(ir.to_proto(node) for node in nodes if node in needed),
            onnx.helper.make_node("Cast", [rows.name], [_ROWS], to=onnx.TensorProto.FLOAT),
        ],
        "rows",
        [onnx.helper.make_tensor_value_info(ids.name, onnx.TensorProto.INT64, ["n"])],
        [onnx.helper.make_tensor_value_info(_ROWS, onnx.TensorProto.FLOAT, None)],
        list(stored.values()),
    )
    return onnx.helper.make_model(
        graph,
        ir_version=model.ir_version,
        functions=[ir.to_proto(function) for function in model.functions.values()],
        opset_imports=[
            onnx.helper.make_opsetid(domain, version)
            for domain, version in model.opset_imports.items()
        ],
    )


def _ids_shape(
    inputs: Sequence[TensorInfo], ids_input: str, free: tuple[int, int]
) -> tuple[int, ...]:
    """The shape that the graph fixes for its ids, ``free`` where it leaves the size open."""
    declared = next(info.shape for info in inputs if info.name == ids_input)
    if len(declared) != 2:
        raise CheckError(f"input {ids_input} has shape {declared}, the checks need [batch, length]")
    return tuple(
        size if isinstance(size, int) else other for size, other in zip(declared, free, strict=True)
    )


def _use(graph: ir.Graph, table: str) -> TableUse:
    return next(use for use in find_tables(graph) if use.name == table)


def _with_table(
    original: Path, table: str, embedding: CompressedEmbedding, folder: Path, *, heads: bool
) -> Path:
    """The original, looking up what ``lookup`` decodes; and its heads, if ``heads``."""
    model = ir.load(original)
    use = _use(model.graph, table)
    assert use.value.dtype is not None
    dense = embedding.dense().astype(use.value.dtype.numpy())
    decoded = _initializer(model.graph, f"{table}.decoded.by.lookup", dense)
    for gather in use.gathers:
        gather.replace_input_with(0, decoded)
    if heads:
        turned = _initializer(model.graph, f"{table}.decoded.and.turned", dense.T.copy())
        for head in find_heads(model.graph, use):
            by_rows = head.weight is use.value
            head.node.replace_input_with(1, decoded if by_rows else turned)
    path = folder / "replaced.onnx"
    ir.save(model, path, external_data="replaced.onnx.data")
    return path


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _largest_difference(left: Path, right: Path, use: TableUse) -> tuple[float, float]:
    """Largest absolute difference of any float output, and the largest output."""
    sessions = [_session(str(path)) for path in (left, right)]
    inputs = describe(sessions[0].get_inputs())
    rng = np.random.default_rng(0)
    difference, scale = 0.0, 0.0
    for free in _SHAPES:
        ids = rng.integers(0, use.rows, _ids_shape(inputs, use.ids_input, free))
        feeds = build_feeds(inputs, use.ids_input, ids)
        pairs = zip(sessions[0].run(None, feeds), sessions[1].run(None, feeds), strict=True)
        for a, b in pairs:
            if np.issubdtype(a.dtype, np.floating) and a.size:
                difference = max(difference, _max_difference(a, b))
                scale = max(scale, _max_finite(b))
    return difference, scale


def _max_difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Equal infinities agree; NaN counts as infinite, so that it can never pass for agreement."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        largest = float(np.where(left == right, 0.0, np.abs(left - right)).max())
    return largest if np.isfinite(largest) else float("inf")


def _max_finite(values: NDArray[np.floating]) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _session(model: str | bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    return options
