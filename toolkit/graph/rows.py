"""The part of a graph between ids and the rows looked up by them, as a model of its own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import InputError
from ..ort import cpu_session
from .contract import LOOKUP, is_lookup
from .forms import FLOATS, constant
from .load import load_graph
from .tables import TableUse

IDS_AT_ONCE = 4096
_ROWS = "rows.as.float"  # numpy knows no bfloat16


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
    raise InputError(
        f"{model} has no {LOOKUP} node of {rows} rows, whose table could be read back; "
        "export it with `--decode function`"
    )


def looked_up(
    graph: ir.Graph,
    ids: ir.Value,
    rows: ir.Value,
    count: int,
    functions: tuple[ir.Function, ...] = (),
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """``rows`` [n, d] of the graph for ``ids`` 0 .. count - 1, some thousand at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.onnx"
        # Not as bytes: of a quantised table there may be more than protobuf's 2 GB.
        ir.save(_rows_model(graph, ids, rows, functions), path, external_data="rows.onnx.data")
        session = cpu_session(path)
        for start in range(0, count, IDS_AT_ONCE):
            some = np.arange(start, min(start + IDS_AT_ONCE, count))
            yield start, session.run(None, {session.get_inputs()[0].name: some})[0]


def _rows_model(
    graph: ir.Graph, ids: ir.Value, rows: ir.Value, functions: tuple[ir.Function, ...]
) -> ir.Model:
    """Ids int64 [n] -> float [n, d]."""
    needed: set[ir.Node] = set()
    held: dict[str, ir.TensorProtocol] = {}
    wanted: list[ir.Value | None] = [rows]
    while wanted:
        value = wanted.pop()
        if value is None or value is ids:
            continue
        tensor, node = constant(value), value.producer()
        if tensor is not None:
            held[value.name or ""] = tensor
        elif node is not None and node not in needed:
            needed.add(node)
            wanted += node.inputs
    given = ir.val(ids.name, dtype=ir.DataType.INT64, shape=["n"])
    known: dict[str | None, ir.Value] = {ids.name: given}
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
    cast = ir.node("Cast", [known[rows.name]], attributes={"to": int(ir.DataType.FLOAT)})
    output = cast.outputs[0]
    output.name, output.dtype = _ROWS, ir.DataType.FLOAT
    part = ir.Graph(
        [given],
        [output],
        nodes=[*nodes, cast],
        initializers=[value for name, value in known.items() if name in held],
        opset_imports=dict(graph.opset_imports),
        name="rows",
    )
    return ir.Model(part, ir_version=10, functions=functions)
