"""A packed layer in a graph: a node of ours, its function body, and the tensors that it reads.

Two layers read a packed table, ``CompressedEmbedding`` (``exporters/ops/lookup.py``) and
``CompressedHead`` (``exporters/ops/head.py``). What they share is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.graph.contract import DOMAIN, VERSION
from toolkit.table.bitpack import sign_table
from toolkit.table.components import CODEBOOK_PEAK, RowOrder, Stage

from .float_types import CAST_LIKE_OPSET, take_any_float

if TYPE_CHECKING:
    from onnxscript import OpBuilder

_ALLOWZERO_OPSET = 14
COLUMN_STEP = 64  # the kernels' widest move: columns of codes that are multiples of it stay aligned

_CODEBOOK_ZERO = CODEBOOK_PEAK + 1  # latents in the graph are 1 .. 127, never beyond 7 bits
_SIGN_ZERO = 1

Tensors = dict[str, NDArray[np.generic]]
Values = dict[str, ir.Value]


@dataclass(frozen=True)
class PackedLayer:
    """A function of one value and ``tensors``, which the caller stores as initializers.

    ``function`` takes the value (ids or hidden states) and then the tensors in their order. Its
    nodes carry ``attributes``, which the body does not read and a native kernel does: ``parts``,
    the tensors' names; ``rows`` and ``width`` of the table; ``block``, ids in one block of the row
    order, 0 for none; ``covered``, the rows of each stage; ``layout``, "rows", or "planes" where
    codes and left factors stand transposed; ``to``, the type of everything but ids.
    """

    function: ir.Function
    tensors: Tensors
    attributes: dict[str, int | str]

    def node(self, value: ir.Value, stored: Sequence[ir.Value], name: str | None = None) -> ir.Node:
        """A call of the function; ``stored`` are the initializers that hold ``tensors``."""
        attributes = ir.convenience.convert_attributes(self.attributes)
        node = ir.node(
            self.function.name,
            [value, *stored],
            attributes={a.name: a for a in attributes},
            domain=DOMAIN,
            name=name,
        )
        # onnxruntime cannot tell the type of a custom operator's output where shapes are unknown.
        node.outputs[0].dtype = ir.DataType(int(self.attributes["to"]))
        return node

    def model(self, value: ir.Value, opset: int, **output: object) -> onnx.ModelProto:
        """A model of one node, from ``value`` to an output ``name``, ``dtype``, ``shape``."""
        stored = [
            ir.val(name, const_value=ir.tensor(array, name=name))
            for name, array in self.tensors.items()
        ]
        node = self.node(value, stored)
        for field, content in output.items():
            setattr(node.outputs[0], field, content)
        graph = ir.Graph(
            [value],
            node.outputs,
            nodes=[node],
            initializers=stored,
            opset_imports={"": opset, DOMAIN: VERSION},
            name="layer",
        )
        return ir.to_proto(ir.Model(graph, ir_version=10, functions=[self.function]))


def build_layer(
    embedding: CompressedEmbedding,
    body: Callable[[OpBuilder, ir.Value, Values], ir.Value],
    *,
    name: str,
    value: str,
    opset: int,
    dtype: ir.DataType,
    column_major: bool,
    value_is_float: bool = False,
) -> PackedLayer:
    """Trace ``body`` into a function ``name`` of ``value`` and the embedding's tensors.

    ``value_is_float``: it is of ``dtype`` too, as hidden states are.
    """
    from onnxscript import build_function  # of the extra `export`

    tensors = graph_tensors(embedding, column_major=column_major)
    inputs = [ir.Value(name=each) for each in (value, *tensors)]

    def traced(op: OpBuilder, first: ir.Value, *values: ir.Value) -> ir.Value:
        return body(op, first, dict(zip(tensors, values, strict=True)))

    function = build_function(traced, inputs, domain=DOMAIN, name=name, opset_imports={"": opset})
    _drop_unread(function)
    for node in function.all_nodes():
        node.metadata_props.clear()  # the tracer's notes, longer than the node itself
    if opset >= CAST_LIKE_OPSET:
        floats = [x for x in function.inputs[1:] if tensors[x.name or ""].dtype == np.float32]
        if dtype != ir.DataType.FLOAT:  # the body has a cast of the output already
            take_any_float(function, floats)
        elif value_is_float:
            take_any_float(function, [function.inputs[0], *floats], like=function.inputs[0])
        else:
            take_any_float(function, floats, like=floats[0])
    attributes: dict[str, int | str] = {
        "parts": ",".join(tensors),
        "rows": embedding.rows,
        "width": embedding.width,
        "block": embedding.order.block if embedding.order is not None else 0,
        "covered": ",".join(str(stage.rows) for stage in embedding.stages),
        "layout": "planes" if column_major else "rows",
        "to": int(dtype),
    }
    for key, content in attributes.items():
        kind = ir.AttributeType.STRING if isinstance(content, str) else ir.AttributeType.INT
        function.attributes[key] = ir.Attr(key, kind, None)
    return PackedLayer(function, tensors, attributes)


def _drop_unread(function: ir.Function) -> None:
    """Remove nodes that nobody reads: a body makes values before it knows who wants them."""
    outputs = {id(value) for value in function.outputs}
    for node in reversed(list(function)):
        if not any(value.uses() or id(value) in outputs for value in node.outputs):
            function.remove(node, safe=True)


def without_idle_parts(embedding: CompressedEmbedding) -> CompressedEmbedding:
    """The same values without what they do not depend on.

    Gains scale nothing where there are no codes, and low-rank factors go by id: no order of rows.
    """
    gain = embedding.gain if embedding.stages or embedding.lowrank is not None else None
    by_position = embedding.stages or gain is not None or embedding.tail is not None
    return replace(embedding, gain=gain, order=embedding.order if by_position else None)


def graph_tensors(embedding: CompressedEmbedding, *, column_major: bool = False) -> Tensors:
    """What a layer reads: the stored tensors, plus the one lookup table that unpacks bytes.

    ``column_major`` transposes what has a line for each row, codes and left factors: an output
    head reads one byte of every row after the other. Columns of codes are filled up with zeros to
    a multiple of :data:`COLUMN_STEP`.
    """
    tensors: Tensors = dict(embedding.tensors())
    if embedding.order is not None:
        del tensors["order.starts"]
        tensors["order.shifts"] = _shifts(embedding.order)
    for index, stage in enumerate(embedding.stages):
        if stage.codebook is None:
            tensors["signs"] = sign_table()
        else:
            tensors[f"stages.{index}.codebook"] = _unsigned(stage.codebook)
    if column_major:
        for index, stage in enumerate(embedding.stages):
            beyond = -stage.rows % COLUMN_STEP
            tensors[f"stages.{index}.codes"] = np.pad(stage.codes.T, ((0, 0), (0, beyond)))
        if embedding.lowrank is not None:
            tensors["lowrank.left"] = np.ascontiguousarray(embedding.lowrank.left.T)
    return tensors


def codebook(stage: Stage, v: Values, prefix: str) -> tuple[ir.Value, int]:
    """The stage's table of latents uint8 [256, k], and the value in it that stands for zero."""
    if stage.codebook is None:
        return v["signs"], _SIGN_ZERO
    return v[f"{prefix}.codebook"], _CODEBOOK_ZERO


def block_order(op: OpBuilder, ids: ir.Value, v: Values, order: RowOrder | None) -> ir.Value:
    """Position of each id int32 [n]: every id of a block moves by the same distance."""
    if order is None:
        return ids
    block = op.Div(ids, int32(op, order.block))
    return op.Add(ids, op.Gather(v["order.shifts"], block, axis=0))


def gains(op: OpBuilder, position: ir.Value, coded: int, rows: int, v: Values) -> ir.Value:
    """The factor of each position int32 [n], float [n]; 1 for rows that have no code."""
    covered = None
    if coded < rows:
        covered = op.Less(position, int32(op, coded))
        position = op.Where(covered, position, int32(op, 0))
    codes = op.Cast(op.Gather(v["gain.codes"], position, axis=0), to=ir.DataType.INT32)
    factors = op.Gather(v["gain.levels"], codes, axis=0)
    if covered is not None:
        factors = op.Where(covered, factors, op.Constant(value=ir.tensor(np.float32(1))))
    return factors


def reshape(op: OpBuilder, value: ir.Value, shape: ir.Value, opset: int) -> ir.Value:
    """To a shape whose zeros are zeros: a text of no tokens, not «as in the input»."""
    return op.Reshape(value, shape, **({"allowzero": 1} if opset >= _ALLOWZERO_OPSET else {}))


def int32(op: OpBuilder, value: int) -> ir.Value:
    """A scalar."""
    return op.Constant(value=ir.tensor(np.array(value, np.int32)))


def ints(op: OpBuilder, *values: int) -> ir.Value:
    """A vector of int64, as shapes and axes are."""
    return op.Constant(value_ints=list(values))


def _unsigned(codebook: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Values with a zero point, as an integer product takes its left side."""
    return (codebook.astype(np.int16) + _CODEBOOK_ZERO).astype(np.uint8)


def _shifts(order: RowOrder) -> NDArray[np.int32]:
    """position - id, one for each block: saves the graph a remainder."""
    first_ids = np.arange(len(order.starts), dtype=np.int32) * np.int32(order.block)
    return order.starts - first_ids
