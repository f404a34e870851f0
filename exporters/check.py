"""What is proved after every export, on the files as written."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.errors import LightTokenError
from toolkit.feeds import Feeds, GraphInput, make_feeds
from toolkit.manifest import Parity

from .decode import DOMAIN, VERSION, build_decode_graph

# Largest difference allowed, times the largest output: float additions in another order.
TOLERANCE = 1e-4
_SHAPES = ((1, 8), (3, 21))  # batch and length; neither is what the exporters trace with
_IDS_AT_ONCE = 4096
_OPTIMIZED = "optimized.onnx"
_OPTIMIZED_DATA = "optimized.onnx.data"


class CheckError(LightTokenError):
    """The exported model is not what it should be; nothing is written."""


def check_model(
    compressed: Path, original: Path, table: str, embedding: CompressedEmbedding, *, tied: bool
) -> Parity:
    """Run every check.

    Args:
        compressed: the rewritten model.
        original: the model before.
        table: the initializer that was replaced.
        embedding: what it was replaced by.
        tied: the dense table stays in the graph for another reader.

    Raises:
        CheckError: a check fails; the message gives the figure.
    """
    _check_onnx(compressed)
    check_stays_packed(compressed, table, embedding, tied=tied)
    model = ir.load(compressed)
    lookup = _lookup_difference(model.opset_imports[""], embedding)
    with tempfile.TemporaryDirectory() as folder:
        replaced = _with_table(original, table, embedding, Path(folder))
        rewrite, scale = _largest_difference(compressed, replaced, embedding.rows)
    price, _ = _largest_difference(compressed, original, embedding.rows)
    for what, difference, limit in (
        ("the decode graph and lookup()", lookup, TOLERANCE),
        (
            "the rewritten model and the original with its table replaced",
            rewrite,
            TOLERANCE * max(1.0, scale),
        ),
    ):
        if not difference <= limit:
            raise CheckError(f"{what} differ by {difference:.3g}, more than {limit:.3g}")
    return Parity(lookup=lookup, rewrite=rewrite, compression=price)


def _check_onnx(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise CheckError(f"onnx.checker refuses the model: {str(error).splitlines()[0]}") from error


def check_stays_packed(
    path: Path, table: str, embedding: CompressedEmbedding, *, tied: bool
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
        before, after = _initializers(path), _initializers(optimized)
        if tied:
            return
        entries = embedding.rows * embedding.width
        for where, sizes in (("the file", before), ("onnxruntime's graph", after)):
            for name, (count, _) in sizes.items():
                if count == entries and (name == table or where != "the file"):
                    raise CheckError(f"{where} still holds a dense table, {name}")
        grown = sum(size for _, size in after.values()) - sum(size for _, size in before.values())
        if grown > entries:  # a quarter of the dense table
            raise CheckError(
                f"onnxruntime unpacks at load: its graph holds {grown:,} bytes more than the file"
            )


def _initializers(path: Path) -> dict[str, tuple[int, int]]:
    """Entries and bytes of each initializer."""
    graph = ir.load(path).graph
    return {
        name: (tensor.size, tensor.nbytes)
        for name, value in graph.initializers.items()
        if (tensor := value.const_value) is not None
    }


def _lookup_difference(opset: int, embedding: CompressedEmbedding) -> float:
    """Largest difference between the decode graph and ``lookup``, over every id."""
    session = _session(decode_model(embedding, opset=opset).SerializeToString())
    largest = 0.0
    for start in range(0, embedding.rows, _IDS_AT_ONCE):
        ids = np.arange(start, min(start + _IDS_AT_ONCE, embedding.rows))
        rows = session.run(None, {"ids": ids[None]})[0][0]
        largest = max(largest, float(np.abs(rows - embedding.lookup(ids)).max()))
    return largest


def decode_model(embedding: CompressedEmbedding, *, opset: int = 18) -> onnx.ModelProto:
    """A model of one node: ids int64 [batch, length] -> rows float32 [batch, length, d]."""
    decoder = build_decode_graph(embedding, opset=opset)
    ids = ir.val("ids", dtype=ir.DataType.INT64, shape=["batch", "length"])
    stored = [
        ir.val(name, const_value=ir.tensor(array, name=name))
        for name, array in decoder.tensors.items()
    ]
    node = ir.node(decoder.function.name, [ids, *stored], domain=DOMAIN)
    rows = node.outputs[0]
    rows.name, rows.dtype = "rows", ir.DataType.FLOAT
    rows.shape = ir.Shape(["batch", "length", embedding.width])
    graph = ir.Graph(
        [ids],
        [rows],
        nodes=[node],
        initializers=stored,
        opset_imports={"": opset, DOMAIN: VERSION},
        name="decode",
    )
    model = ir.Model(graph, ir_version=10, functions=[decoder.function])
    return ir.to_proto(model)


def _with_table(original: Path, table: str, embedding: CompressedEmbedding, folder: Path) -> Path:
    """The original with its table replaced by what ``lookup`` decodes."""
    model = ir.load(original)
    value = model.graph.initializers[table]
    assert value.const_value is not None
    dense = embedding.dense().astype(value.const_value.dtype.numpy())
    value.const_value = ir.tensor(dense, name=table)
    path = folder / "replaced.onnx"
    ir.save(model, path, external_data="replaced.onnx.data")
    return path


def _largest_difference(left: Path, right: Path, rows: int) -> tuple[float, float]:
    """Largest absolute difference of any float output, and the largest output."""
    sessions = [_session(str(path)) for path in (left, right)]
    difference, scale = 0.0, 0.0
    for feeds in _feeds(sessions[0], rows):
        pairs = zip(sessions[0].run(None, feeds), sessions[1].run(None, feeds), strict=True)
        for a, b in pairs:
            if np.issubdtype(a.dtype, np.floating) and a.size:
                difference = max(difference, _max_abs(a - b))
                scale = max(scale, _max_abs(b))
    return difference, scale


def _max_abs(values: NDArray[np.floating]) -> float:
    """NaN counts as infinite, so that it can never pass for agreement."""
    largest = float(np.abs(values.astype(np.float64)).max())
    return largest if np.isfinite(largest) else float("inf")


def _feeds(session: ort.InferenceSession, rows: int) -> Iterator[Feeds]:
    inputs = [
        GraphInput(entry.name, entry.type, tuple(entry.shape)) for entry in session.get_inputs()
    ]
    rng = np.random.default_rng(0)
    for batch, length in _SHAPES:
        yield make_feeds(inputs, batch=batch, length=length, rows=rows, rng=rng)


def _session(model: str | bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options
