"""The decode graph: ``CompressedEmbedding.lookup`` in standard ONNX operators.

Each function below is a few lines of the graph and traces with ``onnxscript``: ``op`` makes nodes,
values flow as in Python. Two rules hold throughout, both because onnxruntime folds constants:

- rows are gathered by id *first* and unpacked after; unpacking a whole table would be folded back
  into a dense one in memory;
- every step up to the integer product is exact, so the only difference to ``lookup`` can come from
  float additions, which are made in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.graph.contract import LOOKUP
from toolkit.table.components import Stage

from .ids import blank_outside, refused_outside, row_numbers
from .layer import (
    PackedLayer,
    Values,
    block_order,
    build_layer,
    codebook,
    gains,
    int32,
    ints,
    reshape,
    without_idle_parts,
)
from .zeros import kept

if TYPE_CHECKING:
    from onnxscript import OpBuilder


def build_decode_graph(
    embedding: CompressedEmbedding,
    *,
    opset: int,
    dtype: ir.DataType = ir.DataType.FLOAT,
    column_major: bool = False,
    name: str = LOOKUP,
    floats: bool = False,
) -> PackedLayer:
    """Ids (int32 or int64, any rank) to rows of ``dtype`` [.., d].

    ``column_major``: the codes are those of an output head too, which wants them transposed.
    ``name``: the function's. ``floats``: unpack and multiply in float32, for providers that lack
    integer products.
    """

    embedding = without_idle_parts(embedding)

    def body(op: OpBuilder, ids: ir.Value, v: Values) -> ir.Value:
        return decode(op, embedding, ids, v, dtype, opset, column_major, floats)

    return build_layer(
        embedding, body, name=name, value="ids", opset=opset, dtype=dtype, column_major=column_major
    )


def decode_model(
    embedding: CompressedEmbedding,
    *,
    opset: int = 18,
    dtype: ir.DataType = ir.DataType.FLOAT,
    ids_dtype: ir.DataType = ir.DataType.INT64,
    column_major: bool = False,
    floats: bool = False,
) -> onnx.ModelProto:
    """A model of one node: ids of ``ids_dtype`` [batch, length] -> rows of ``dtype`` [.., d]."""
    layer = build_decode_graph(
        embedding, opset=opset, dtype=dtype, column_major=column_major, floats=floats
    )
    ids = ir.val("ids", dtype=ids_dtype, shape=["batch", "length"])
    shape = ir.Shape(["batch", "length", embedding.width])
    return layer.model(ids, opset, name="rows", dtype=dtype, shape=shape)


def decode(
    op: OpBuilder,
    embedding: CompressedEmbedding,
    ids: ir.Value,
    v: Values,
    dtype: ir.DataType,
    opset: int,
    column_major: bool,
    floats: bool,
) -> ir.Value:
    """x^ = mean + gain * (left @ right + sum of stages), in ``lookup``'s order of additions."""
    shape = op.Shape(ids)
    flat = op.Reshape(ids, ints(op, -1))
    row, inside = row_numbers(op, flat, embedding.rows, floats=floats)
    position = block_order(op, row, v, embedding.order)
    parts = [] if embedding.lowrank is None else [low_rank(op, row, v, column_major)]
    for index, stage in enumerate(embedding.stages):
        prefix = f"stages.{index}"
        parts.append(
            stage_values(op, stage, position, embedding.rows, v, prefix, column_major, floats)
        )
    rows = v["mean"]
    if embedding.tail is not None:
        covered = op.Less(position, int32(op, embedding.covered))
        rows = op.Where(op.Unsqueeze(covered, ints(op, 1)), rows, v["tail"])
    keep = None
    if embedding.zeros is not None:
        keep = op.Unsqueeze(kept(op, row, v["zeros"]), ints(op, 1))
        rows = op.Mul(rows, keep)
    blank = blank_outside(op, inside)
    if not floats:
        blank = refused_outside(op, blank, flat, embedding.rows)
    rows = op.Add(rows, blank)
    if parts:
        total = parts[0]
        for part in parts[1:]:
            total = op.Add(total, part)
        if embedding.gain is not None:
            factors = gains(op, position, len(embedding.gain.codes), embedding.rows, v)
            total = op.Mul(total, op.Unsqueeze(factors, ints(op, 1)))
        if keep is not None:
            total = op.Mul(total, keep)
        rows = op.Add(total, rows)
    if dtype != ir.DataType.FLOAT:
        rows = op.Cast(rows, to=dtype)
    return reshape(op, rows, op.Concat(shape, ints(op, embedding.width), axis=0), opset)


def low_rank(op: OpBuilder, ids: ir.Value, v: Values, column_major: bool) -> ir.Value:
    """left[ids] @ (right * scale), float [n, d]."""
    left = op.Cast(lines(op, v["lowrank.left"], ids, column_major), to=ir.DataType.FLOAT)
    right = op.Cast(v["lowrank.right"], to=ir.DataType.FLOAT)
    if "lowrank.scale" in v:
        right = op.Mul(right, op.Reshape(v["lowrank.scale"], ints(op, -1, 1)))
    return op.MatMul(left, right)


def lines(op: OpBuilder, tensor: ir.Value, places: ir.Value, column_major: bool) -> ir.Value:
    """Lines [n, ..] of a tensor [rows, ..], or of [.., rows] where codes are column-major."""
    if not column_major:
        return op.Gather(tensor, places, axis=0)
    return op.Transpose(op.Gather(tensor, places, axis=1), perm=[1, 0])


def stage_values(
    op: OpBuilder,
    stage: Stage,
    position: ir.Value,
    rows: int,
    v: Values,
    prefix: str,
    column_major: bool,
    floats: bool,
) -> ir.Value:
    """What one stage adds, float [n, d]; zero for positions that it does not cover."""
    covered = None
    if stage.rows < rows:
        covered = op.Less(position, int32(op, stage.rows))
        position = op.Where(covered, position, int32(op, 0))
        covered = op.Unsqueeze(covered, ints(op, 1))
    codes = lines(op, v[f"{prefix}.codes"], position, column_major)
    table, middle = codebook(stage, v, prefix)
    zero = op.Constant(value=ir.tensor(np.array(middle, np.uint8)))
    scale = v.get(f"{prefix}.scale")
    weight = v.get(f"{prefix}.weight")
    if floats:
        table = op.Sub(op.Cast(table, to=ir.DataType.FLOAT), op.Cast(zero, to=ir.DataType.FLOAT))
        centred = unpack(op, codes, table, stage)
        if covered is not None:
            centred = op.Where(covered, centred, op.Constant(value=ir.tensor(np.float32(0))))
        if weight is not None:
            # Of whole numbers up to 63 and 127: as exact as in integers up to 2,000 latents.
            centred = op.MatMul(centred, op.Cast(weight, to=ir.DataType.FLOAT))
        return centred if scale is None else op.Mul(centred, scale)
    latents = unpack(op, codes, table, stage)
    if covered is not None:
        latents = op.Where(covered, latents, zero)
    if weight is not None and scale is not None:
        exact = op.MatMulInteger(latents, weight, zero)
        return op.Mul(op.Cast(exact, to=ir.DataType.FLOAT), scale)
    centred = op.Sub(op.Cast(latents, to=ir.DataType.FLOAT), op.Cast(zero, to=ir.DataType.FLOAT))
    if weight is not None:
        return op.MatMul(centred, weight)
    return op.Mul(centred, scale)


def unpack(op: OpBuilder, codes: ir.Value, table: ir.Value, stage: Stage) -> ir.Value:
    """Codes [n, bytes] -> [n, latents] of the table's type, by table: no bit operators needed."""
    width = stage.codes.shape[1] * stage.values_per_byte
    values = op.Gather(table, op.Cast(codes, to=ir.DataType.INT32), axis=0)
    flat = op.Reshape(values, ints(op, -1, width))
    if width == stage.decoder.latents:
        return flat
    return op.Slice(flat, ints(op, 0), ints(op, stage.decoder.latents), ints(op, 1))
