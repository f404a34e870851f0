"""The decode graph: ``CompressedEmbedding.lookup`` in standard ONNX operators.

Each function below is a few lines of the graph and traces with ``onnxscript``: ``op`` makes nodes,
values flow as in Python. Two rules hold throughout, both because onnxruntime folds constants:

- rows are gathered by id *first* and unpacked after; unpacking a whole table would be folded back
  into a dense one in memory;
- every step up to the integer product is exact, so the only difference to ``lookup`` can come from
  float additions, which are made in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript import OpBuilder, build_function

from toolkit import CompressedEmbedding
from toolkit.bitpack import sign_table
from toolkit.embedding import CODEBOOK_PEAK, RowOrder, Stage

DOMAIN = "ai.lighttoken"
NAME = "CompressedEmbedding"
VERSION = 1
MIN_OPSET = 13  # from here on Squeeze and friends take axes as inputs, as written below
ALLOWZERO_OPSET = 14

_ZERO = CODEBOOK_PEAK + 1  # of a codebook's latents in the graph: 1 .. 127, never beyond 7 bits

Tensors = dict[str, NDArray[np.generic]]
Values = dict[str, ir.Value]


@dataclass(frozen=True)
class DecodeGraph:
    """A function of the ids and ``tensors``, which the caller stores as initializers.

    ``function`` takes the ids (int32 or int64, any rank) and then the tensors in their order; it
    returns rows of ``dtype`` [..., d]. Its nodes carry ``attributes``, which the body does not read
    and a native kernel does.
    """

    function: ir.Function
    tensors: Tensors
    attributes: dict[str, int | str]

    def node(self, ids: ir.Value, stored: Sequence[ir.Value], name: str | None = None) -> ir.Node:
        """A call of the function; ``stored`` are the initializers that hold ``tensors``."""
        attributes = ir.convenience.convert_attributes(self.attributes)
        return ir.node(
            NAME,
            [ids, *stored],
            attributes={a.name: a for a in attributes},
            domain=DOMAIN,
            name=name,
        )


def build_decode_graph(
    embedding: CompressedEmbedding, *, opset: int, dtype: ir.DataType = ir.DataType.FLOAT
) -> DecodeGraph:
    """Write the decode graph of one embedding as a model-local function of standard operators."""
    tensors = graph_tensors(embedding)
    inputs = [ir.Value(name=name) for name in ("ids", *tensors)]

    def body(op: OpBuilder, ids: ir.Value, *values: ir.Value) -> ir.Value:
        named = dict(zip(tensors, values, strict=True))
        return decode(op, embedding, ids, named, dtype, opset)

    function = build_function(body, inputs, domain=DOMAIN, name=NAME, opset_imports={"": opset})
    for node in function:
        node.metadata_props.clear()  # the tracer's notes, longer than the node itself
    attributes: dict[str, int | str] = {
        "parts": ",".join(tensors),
        "rows": embedding.rows,
        "width": embedding.width,
        "block": embedding.order.block if embedding.order is not None else 0,
        "to": int(dtype),
    }
    for name, value in attributes.items():
        kind = ir.AttributeType.STRING if isinstance(value, str) else ir.AttributeType.INT
        function.attributes[name] = ir.Attr(name, kind, None)
    return DecodeGraph(function, tensors, attributes)


def decode_model(
    embedding: CompressedEmbedding,
    *,
    opset: int = 18,
    dtype: ir.DataType = ir.DataType.FLOAT,
    ids_dtype: ir.DataType = ir.DataType.INT64,
) -> onnx.ModelProto:
    """A model of one node: ids of ``ids_dtype`` [batch, length] -> rows of ``dtype`` [.., d]."""
    decoder = build_decode_graph(embedding, opset=opset, dtype=dtype)
    ids = ir.val("ids", dtype=ids_dtype, shape=["batch", "length"])
    stored = [
        ir.val(name, const_value=ir.tensor(array, name=name))
        for name, array in decoder.tensors.items()
    ]
    node = decoder.node(ids, stored)
    rows = node.outputs[0]
    rows.name, rows.dtype = "rows", dtype
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


def graph_tensors(embedding: CompressedEmbedding) -> Tensors:
    """What the graph reads: the stored tensors, plus the one lookup table that unpacks bytes."""
    tensors: Tensors = dict(embedding.tensors())
    if embedding.order is not None:
        del tensors["order.starts"]
        tensors["order.shifts"] = _shifts(embedding.order)
    for index, stage in enumerate(embedding.stages):
        if stage.codebook is None:
            tensors["signs"] = sign_table()
        else:
            tensors[f"stages.{index}.codebook"] = _unsigned(stage.codebook)
    return tensors


def decode(
    op: OpBuilder,
    embedding: CompressedEmbedding,
    ids: ir.Value,
    v: Values,
    dtype: ir.DataType,
    opset: int,
) -> ir.Value:
    """x^ = mean + gain * (left @ right + sum of stages), in ``lookup``'s order of additions."""
    shape = op.Shape(ids)
    flat = op.Cast(op.Reshape(ids, op.Constant(value_ints=[-1])), to=ir.DataType.INT32)
    position = flat
    if embedding.order is not None:
        position = block_order(op, flat, v["order.shifts"], embedding.order.block)
    parts = [] if embedding.lowrank is None else [low_rank(op, flat, v)]
    for index, stage in enumerate(embedding.stages):
        parts.append(stage_values(op, stage, position, embedding.rows, v, f"stages.{index}"))
    rows = v["mean"]
    if embedding.tail is not None:
        covered = op.Less(position, _int32(op, embedding.covered))
        covered = op.Unsqueeze(covered, op.Constant(value_ints=[1]))
        rows = op.Where(covered, rows, v["tail"])
    if parts:
        total = parts[0]
        for part in parts[1:]:
            total = op.Add(total, part)
        if embedding.gain is not None:
            total = op.Mul(total, gains(op, position, len(embedding.gain.codes), embedding.rows, v))
        rows = op.Add(total, rows)
    elif embedding.tail is None:
        rows = op.Expand(rows, op.Concat(op.Shape(flat), op.Shape(rows), axis=0))
    if dtype != ir.DataType.FLOAT:
        rows = op.Cast(rows, to=dtype)
    shape = op.Concat(shape, op.Constant(value_ints=[embedding.width]), axis=0)
    # Without allowzero a 0 in the shape (a text of no tokens) would stand for another dimension.
    return op.Reshape(rows, shape, **({"allowzero": 1} if opset >= ALLOWZERO_OPSET else {}))


def block_order(op: OpBuilder, ids: ir.Value, shifts: ir.Value, block: int) -> ir.Value:
    """Position of each id int32 [n]: every id of a block moves by the same distance."""
    return op.Add(ids, op.Gather(shifts, op.Div(ids, _int32(op, block)), axis=0))


def low_rank(op: OpBuilder, ids: ir.Value, v: Values) -> ir.Value:
    """left[ids] @ (right * scale), float [n, d]."""
    left = op.Cast(op.Gather(v["lowrank.left"], ids, axis=0), to=ir.DataType.FLOAT)
    right = op.Cast(v["lowrank.right"], to=ir.DataType.FLOAT)
    if "lowrank.scale" in v:
        column = op.Reshape(v["lowrank.scale"], op.Constant(value_ints=[-1, 1]))
        right = op.Mul(right, column)
    return op.MatMul(left, right)


def gains(op: OpBuilder, position: ir.Value, coded: int, rows: int, v: Values) -> ir.Value:
    """The factor of each row, float [n, 1]; 1 for rows that have no code."""
    covered = None
    if coded < rows:
        covered = op.Less(position, _int32(op, coded))
        position = op.Where(covered, position, _int32(op, 0))
    codes = op.Cast(op.Gather(v["gain.codes"], position, axis=0), to=ir.DataType.INT32)
    factors = op.Gather(v["gain.levels"], codes, axis=0)
    if covered is not None:
        factors = op.Where(covered, factors, op.Constant(value=ir.tensor(np.float32(1))))
    return op.Unsqueeze(factors, op.Constant(value_ints=[1]))


def stage_values(
    op: OpBuilder, stage: Stage, position: ir.Value, rows: int, v: Values, prefix: str
) -> ir.Value:
    """What one stage adds, float [n, d]; zero for positions that it does not cover."""
    covered = None
    if stage.rows < rows:
        covered = op.Less(position, _int32(op, stage.rows))
        position = op.Where(covered, position, _int32(op, 0))
        covered = op.Unsqueeze(covered, op.Constant(value_ints=[1]))
    codes = op.Gather(v[f"{prefix}.codes"], position, axis=0)
    signs = stage.codebook is None
    table = v["signs"] if signs else v[f"{prefix}.codebook"]
    latents = unpack(op, codes, table, stage)
    zero = op.Constant(value=ir.tensor(np.array(1 if signs else _ZERO, np.uint8)))
    if covered is not None:
        latents = op.Where(covered, latents, zero)
    scale = v.get(f"{prefix}.scale")
    weight = v.get(f"{prefix}.weight")
    if weight is not None and scale is not None:
        exact = op.MatMulInteger(latents, weight, zero)
        return op.Mul(op.Cast(exact, to=ir.DataType.FLOAT), scale)
    centred = op.Sub(op.Cast(latents, to=ir.DataType.FLOAT), op.Cast(zero, to=ir.DataType.FLOAT))
    if weight is not None:
        return op.MatMul(centred, weight)
    return op.Mul(centred, scale)


def unpack(op: OpBuilder, codes: ir.Value, table: ir.Value, stage: Stage) -> ir.Value:
    """uint8 codes [n, bytes] -> uint8 [n, latents], by table: no bit operators needed."""
    width = stage.codes.shape[1] * stage.values_per_byte
    values = op.Gather(table, op.Cast(codes, to=ir.DataType.INT32), axis=0)
    flat = op.Reshape(values, op.Constant(value_ints=[-1, width]))
    if width == stage.decoder.latents:
        return flat
    first, last, axis = ([0], [stage.decoder.latents], [1])
    return op.Slice(
        flat,
        op.Constant(value_ints=first),
        op.Constant(value_ints=last),
        op.Constant(value_ints=axis),
    )


def _unsigned(codebook: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Values with the zero point :data:`_ZERO`, as an integer product takes its left side."""
    return (codebook.astype(np.int16) + _ZERO).astype(np.uint8)


def _shifts(order: RowOrder) -> NDArray[np.int32]:
    """position - id, one for each block: saves the graph a remainder."""
    first_ids = np.arange(len(order.starts), dtype=np.int32) * np.int32(order.block)
    return order.starts - first_ids


def _int32(op: OpBuilder, value: int) -> ir.Value:
    return op.Constant(value=ir.tensor(np.array(value, np.int32)))
