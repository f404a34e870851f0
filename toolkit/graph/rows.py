"""A part of a graph as a model of its own: the rows that ids look up, what a matrix stands for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import InputError
from ..ort import cpu_session
from ..temporary import temporary_folder
from .contract import HEAD, LOOKUP, is_head, is_lookup, packed_head_tensors
from .forms import FLOATS, constant
from .load import load_graph
from .stock import stock_rows
from .tables import TableUse

IDS_AT_ONCE = 4096
RowReader = Callable[[NDArray[np.int64]], NDArray[np.float32]]
_OUTPUT = "part.as.float"  # numpy knows no bfloat16


def table_values(table: TableUse) -> NDArray[np.floating]:
    """The table as an array [V, d]; float32 where the file holds it in another way than in floats.

    Those values are what the graph's own operators look up, for every id: no second opinion on
    what a quantised table means.
    """
    tensor = constant(table.value)
    assert tensor is not None
    if tensor.dtype in FLOATS:
        values = tensor.numpy()
        return np.ascontiguousarray(values.T) if table.turned else values
    first = table.lookups[0]
    found = np.empty((table.rows, table.width), np.float32)
    for start, rows in looked_up(table.graph, first.ids, first.rows, table.rows):
        found[start : start + len(rows)] = rows
    return found


def stored_matrix(graph: ir.Graph, value: ir.Value) -> NDArray[np.floating]:
    """What the graph makes of a stored matrix, in the shape that ``value`` has.

    As it is stored where ``value`` is that itself, else float32.
    """
    tensor = constant(value)
    if tensor is not None:
        return tensor.numpy()
    with temporary_folder() as folder:
        session = cpu_session(_save_part(graph, [], value, (), folder))
        values: NDArray[np.float32] = session.run(None, {})[0]
    return values


def packed_rows(model: Path, rows: int) -> NDArray[np.float32]:
    """Every row of the packed table with ``rows`` rows, float32 [rows, d].

    Raises:
        InputError: no .onnx file, or none with such a table in a node of its own: a graph whose
            function was inlined does not say where it begins.
    """
    loaded = load_graph(model)
    for node in loaded.graph.all_nodes():
        if not is_lookup(node):
            continue
        ids = node.inputs[0]
        if ids is None or node.attributes.get_int("rows", 0) != rows:
            continue
        functions = tuple(loaded.functions.values())
        parts = looked_up(loaded.graph, ids, node.outputs[0], rows, functions)
        return np.concatenate([values for _, values in parts])
    for ids, found in stock_rows(loaded.graph, rows):
        return np.concatenate([part for _, part in looked_up(loaded.graph, ids, found, rows)])
    raise InputError(
        f"{model} has no {LOOKUP} node of {rows} rows, whose table could be read back; "
        "export it with `--decode function`"
    )


def packed_head(model: Path, rows: int) -> NDArray[np.float32]:
    """Every row of a packed head's own matrix with ``rows`` rows, float32 [rows, d].

    Raises:
        InputError: no .onnx file, or none with such a head in a node of its own.
    """
    loaded = load_graph(model)
    own = packed_head_tensors(loaded.graph)
    for node in loaded.graph.all_nodes():
        hidden, logits = node.inputs[0] if node.inputs else None, node.outputs[0]
        if not is_head(node) or hidden is None or not own.issuperset(node.inputs[1:]):
            continue
        if node.attributes.get_int("rows", 0) != rows:
            continue
        dtype = ir.DataType(node.attributes.get_int("to", int(ir.DataType.FLOAT)))
        unit = np.eye(node.attributes.get_int("width", 0), dtype=dtype.numpy())
        functions = tuple(loaded.functions.values())
        return np.ascontiguousarray(computed(loaded.graph, hidden, logits, unit, functions).T)
    raise InputError(
        f"{model} has no {HEAD} node of {rows} rows with a matrix of its own, which could be read "
        "back; export it with `--decode function`"
    )


def looked_up(
    graph: ir.Graph,
    ids: ir.Value,
    rows: ir.Value,
    count: int,
    functions: tuple[ir.Function, ...] = (),
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """``rows`` [n, d] of the graph for ``ids`` 0 .. count - 1, some thousand at a time."""
    with row_reader(graph, ids, rows, functions) as read:
        for start in range(0, count, IDS_AT_ONCE):
            yield start, read(np.arange(start, min(start + IDS_AT_ONCE, count)))


@contextmanager
def row_reader(
    graph: ir.Graph,
    ids: ir.Value,
    rows: ir.Value,
    functions: tuple[ir.Function, ...] = (),
) -> Iterator[RowReader]:
    """What gives ``rows`` float32 [n, d] of the graph for ``ids`` int64 [n], under onnxruntime."""
    given = ir.val(ids.name, dtype=ir.DataType.INT64, shape=["n"])
    with temporary_folder() as folder:
        session = cpu_session(_save_part(graph, [(ids, given)], rows, functions, folder))
        name = session.get_inputs()[0].name

        def read(some: NDArray[np.int64]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = session.run(None, {name: some})[0]
            return found

        yield read


def computed(
    graph: ir.Graph,
    start: ir.Value,
    end: ir.Value,
    values: NDArray[np.floating],
    functions: tuple[ir.Function, ...] = (),
) -> NDArray[np.float32]:
    """``end`` of the graph, as float32, where ``start`` is ``values`` [n, d]."""
    given = ir.val(start.name, dtype=ir.DataType.from_numpy(values.dtype), shape=["n", "d"])
    with temporary_folder() as folder:
        session = cpu_session(_save_part(graph, [(start, given)], end, functions, folder))
        found: NDArray[np.float32] = session.run(None, {str(start.name): values})[0]
    return found


def _save_part(
    graph: ir.Graph,
    given: list[tuple[ir.Value, ir.Value]],
    wanted: ir.Value,
    functions: tuple[ir.Function, ...],
    folder: Path,
) -> Path:
    """A file of a model from ``given`` to ``wanted``.

    Not as bytes: of a quantised table there may be more than protobuf's 2 GB.
    """
    path = folder / "part.onnx"
    ir.save(_part_model(graph, given, wanted, functions), path, external_data="part.onnx.data")
    return path


def _part_model(
    graph: ir.Graph,
    given: list[tuple[ir.Value, ir.Value]],
    wanted: ir.Value,
    functions: tuple[ir.Function, ...],
) -> ir.Model:
    """From ``given``, pairs of a value and the input that takes its place, to ``wanted`` in float.

    Ids that are given as int64 [n] make rows float [n, d].
    """
    needed: set[ir.Node] = set()
    held: dict[str, ir.TensorProtocol] = {}
    replaced = {old for old, _ in given}
    waiting: list[ir.Value | None] = [wanted]
    while waiting:
        value = waiting.pop()
        if value is None or value in replaced:
            continue
        tensor, node = constant(value), value.producer()
        if tensor is not None:
            held[value.name or ""] = tensor
        elif node is not None and node not in needed:
            needed.add(node)
            waiting += node.inputs
    known: dict[str | None, ir.Value] = {old.name: new for old, new in given}
    for name, tensor in held.items():
        known[name] = ir.val(name, const_value=tensor)
    nodes = []
    for node in graph.all_nodes():
        if node not in needed:
            continue
        copy = ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else known[value.name] for value in node.inputs],
            node.attributes.values(),
            num_outputs=len(node.outputs),
            name=node.name,
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = old.name
            known[old.name] = new
        nodes.append(copy)
    cast = ir.node("Cast", [known[wanted.name]], attributes={"to": int(ir.DataType.FLOAT)})
    output = cast.outputs[0]
    output.name, output.dtype = _OUTPUT, ir.DataType.FLOAT
    part = ir.Graph(
        [new for _, new in given],
        [output],
        nodes=[*nodes, cast],
        initializers=[value for name, value in known.items() if name in held],
        opset_imports=dict(graph.opset_imports),
        name="part",
    )
    return ir.Model(part, ir_version=10, functions=functions)
