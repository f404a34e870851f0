"""The head graph: ``CompressedEmbedding.logits`` in standard ONNX operators.

A row's logit is the sum over its latents of what the decoder makes of the hidden state. So the
graph takes hidden states through the decoder, not rows, and then goes over the table in a ``Loop``,
a few hundred rows a turn: their bytes become latents, and these are multiplied. It never holds more
than one turn's latents, and onnxruntime, which does not fold loops, finds no constant to turn into
a dense matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.graph.contract import HEAD
from toolkit.table.components import Stage

from .layer import (
    COLUMN_STEP,
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

_ROWS_AT_ONCE = 512


def build_head_graph(
    embedding: CompressedEmbedding,
    *,
    opset: int,
    dtype: ir.DataType = ir.DataType.FLOAT,
    name: str = HEAD,
) -> PackedLayer:
    """Hidden states of ``dtype`` [.., d] to logits of ``dtype`` [.., V], codes column-major."""

    embedding = without_idle_parts(embedding)

    def body(op: OpBuilder, hidden: ir.Value, v: Values) -> ir.Value:
        return project(op, embedding, hidden, v, dtype, opset)

    return build_layer(
        embedding,
        body,
        name=name,
        value="hidden",
        opset=opset,
        dtype=dtype,
        column_major=True,
        value_is_float=True,
    )


def head_model(
    embedding: CompressedEmbedding, *, opset: int = 18, dtype: ir.DataType = ir.DataType.FLOAT
) -> onnx.ModelProto:
    """A model of one node: hidden [batch, length, d] -> logits [batch, length, V], of ``dtype``."""
    layer = build_head_graph(embedding, opset=opset, dtype=dtype)
    hidden = ir.val("hidden", dtype=dtype, shape=["batch", "length", embedding.width])
    shape = ir.Shape(["batch", "length", embedding.rows])
    return layer.model(hidden, opset, name="logits", dtype=dtype, shape=shape)


def project(
    op: OpBuilder,
    embedding: CompressedEmbedding,
    hidden: ir.Value,
    v: Values,
    dtype: ir.DataType,
    opset: int,
) -> ir.Value:
    """hidden @ x^, where x^ = mean + gain * (left @ right + sum of stages)."""
    rows = embedding.rows
    leading = op.Slice(op.Shape(hidden), ints(op, 0), ints(op, -1))
    flat = op.Cast(hidden, to=ir.DataType.FLOAT) if dtype != ir.DataType.FLOAT else hidden
    # Not -1: of a text of no tokens there is nothing to infer it from.
    count = op.ReduceProd(leading, keepdims=1)
    flat = reshape(op, flat, op.Concat(count, ints(op, embedding.width), axis=0), opset)
    total = None
    for index, stage in enumerate(embedding.stages):
        part = stage_logits(op, stage, flat, count, v, f"stages.{index}")
        if stage.rows < rows:
            part = op.Concat(part, zeros(op, count, rows - stage.rows), axis=1)
        total = part if total is None else op.Add(total, part)
    every = op.Range(int32(op, 0), int32(op, rows), int32(op, 1))
    position = block_order(op, every, v, embedding.order)
    if total is not None and embedding.order is not None:
        total = op.Gather(total, position, axis=1)
    if embedding.lowrank is not None:
        part = low_rank(op, embedding, flat, count, v)
        total = part if total is None else op.Add(part, total)
    start = inner(op, flat, v["mean"])
    if embedding.tail is not None:
        covered = op.Less(position, int32(op, embedding.covered))
        start = op.Where(covered, start, inner(op, flat, v["tail"]))
    if total is None:
        total = zeros(op, count, rows)
    if embedding.gain is not None:
        total = op.Mul(total, gains(op, position, len(embedding.gain.codes), rows, v))
    logits = op.Add(total, start)
    if embedding.zeros is not None:
        logits = op.Mul(logits, kept(op, every, v["zeros"]))
    if dtype != ir.DataType.FLOAT:
        logits = op.Cast(logits, to=dtype)
    return reshape(op, logits, op.Concat(leading, ints(op, rows), axis=0), opset)


def inner(op: OpBuilder, flat: ir.Value, vector: ir.Value) -> ir.Value:
    """float [n, d] times a vector [d], [n, 1]."""
    return op.MatMul(flat, op.Unsqueeze(vector, ints(op, 1)))


def stage_logits(
    op: OpBuilder,
    stage: Stage,
    flat: ir.Value,
    count: ir.Value,
    v: Values,
    prefix: str,
) -> ir.Value:
    """What one stage adds to the logits of the rows that it covers, float [n, stage.rows]."""
    stored, k = stage.codes.shape[1], stage.values_per_byte
    scale, weight = v.get(f"{prefix}.scale"), v.get(f"{prefix}.weight")
    latents = flat if scale is None else op.Mul(flat, scale)
    if weight is not None:
        decoder = op.Cast(weight, to=ir.DataType.FLOAT) if scale is not None else weight
        latents = op.MatMul(latents, op.Transpose(decoder, perm=[1, 0]))
    missing = stored * k - stage.decoder.latents
    if missing:
        latents = op.Concat(latents, zeros(op, count, missing), axis=1)
    latents = op.Transpose(latents, perm=[1, 0])  # [bytes * k, n]
    table, zero = codebook(stage, v, prefix)
    middle = op.Constant(value=ir.tensor(np.float32(zero)))
    entries = op.Sub(op.Cast(table, to=ir.DataType.FLOAT), middle)
    codes = v[f"{prefix}.codes"]
    held = stage.rows + -stage.rows % COLUMN_STEP
    at_once = min(_ROWS_AT_ONCE, held)
    turns = -(-held // at_once)

    def turn(op: OpBuilder, index: ir.Value, going: ir.Value) -> list[ir.Value]:
        start = op.Mul(index, ints(op, at_once))
        if held % at_once:  # the last turn goes over some rows again: all have one shape
            start = op.Min(start, ints(op, held - at_once))
        some = op.Slice(codes, start, op.Add(start, ints(op, at_once)), ints(op, 1))
        bytes_of_rows = op.Cast(op.Transpose(some, perm=[1, 0]), to=ir.DataType.INT32)
        values = op.Reshape(
            op.Gather(entries, bytes_of_rows, axis=0), ints(op, at_once, stored * k)
        )
        return [op.Identity(going), op.MatMul(values, latents)]

    index = ir.val("index", dtype=ir.DataType.INT64, shape=[])
    going = ir.val("going", dtype=ir.DataType.BOOL, shape=[])
    on = ir.val("on", dtype=ir.DataType.BOOL)
    logits = ir.val("logits", dtype=ir.DataType.FLOAT)
    body = subgraph(op, turn, [index, going], [on, logits], prefix)
    trips = op.Constant(value=ir.tensor(np.array(turns, np.int64)))
    always = op.Constant(value=ir.tensor(np.array(True)))
    found = op.Loop(trips, always, body=body)  # [turns, at_once, n]
    found = op.Reshape(found, op.Concat(ints(op, turns * at_once), count, axis=0))
    if again := turns * at_once - held:
        whole = op.Slice(found, ints(op, 0), ints(op, (turns - 1) * at_once), ints(op, 0))
        rest = op.Slice(
            found, ints(op, (turns - 1) * at_once + again), ints(op, turns * at_once), ints(op, 0)
        )
        found = op.Concat(whole, rest, axis=0)
    if held > stage.rows:
        found = op.Slice(found, ints(op, 0), ints(op, stage.rows), ints(op, 0))
    return op.Transpose(found, perm=[1, 0])


def low_rank(
    op: OpBuilder,
    embedding: CompressedEmbedding,
    flat: ir.Value,
    count: ir.Value,
    v: Values,
) -> ir.Value:
    """(hidden @ right^T * scale) @ left^T, float [n, V]."""
    right = op.Cast(v["lowrank.right"], to=ir.DataType.FLOAT)
    factors = op.MatMul(flat, op.Transpose(right, perm=[1, 0]))
    if "lowrank.scale" not in v:
        return op.MatMul(factors, v["lowrank.left"])
    factors = op.Mul(factors, v["lowrank.scale"])
    # A cast of all of int8 `left` would be folded into floats; line by line it stays as it is.
    rows = embedding.rows
    total = ir.val("total", dtype=ir.DataType.FLOAT, shape=["n", rows])
    factor = ir.val("factor", dtype=ir.DataType.FLOAT, shape=["n"])
    line = ir.val("line", dtype=ir.DataType.INT8, shape=[rows])

    def turn(op: OpBuilder, total: ir.Value, factor: ir.Value, line: ir.Value) -> ir.Value:
        column = op.Unsqueeze(factor, ints(op, 1))
        return op.Add(total, op.Mul(column, op.Cast(line, to=ir.DataType.FLOAT)))

    result = ir.val("next", dtype=ir.DataType.FLOAT, shape=["n", rows])
    body = subgraph(op, turn, [total, factor, line], [result], "lowrank")
    start, by_rank = zeros(op, count, rows), op.Transpose(factors, perm=[1, 0])
    return op.Scan(start, by_rank, v["lowrank.left"], body=body, num_scan_inputs=2)


def subgraph(
    op: OpBuilder,
    turn: Callable[..., ir.Value | list[ir.Value]],
    inputs: list[ir.Value],
    outputs: list[ir.Value],
    prefix: str,
) -> ir.Graph:
    """``turn`` as the body of a loop, whose names are its own: tracers count from zero in each."""
    graph = op.builder.subgraph(turn, inputs, outputs)
    for node in graph:
        node.name = f"{prefix}.{node.name}"
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        value.name = f"{prefix}.{value.name}"
    return graph


def zeros(op: OpBuilder, count: ir.Value, columns: int) -> ir.Value:
    """float [n, columns]."""
    return op.ConstantOfShape(op.Concat(count, ints(op, columns), axis=0))
