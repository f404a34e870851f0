"""What products of integers need in a graph: rows as uint8, and products with codes of a trellis.

Both are functions of the model. What a product reads of its codes are constants alone, so that
onnxruntime decodes them when it loads the model and keeps int8 numbers, unless the native kernel is
there; the file holds 2 to 4 bits of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from toolkit.graph.contract import DECODING, TRELLIS, WEIGHTS_DOMAIN

from .layer import ints

if TYPE_CHECKING:
    from onnxscript import OpBuilder

TRELLIS_INPUTS = (
    "values",  # float32 [.., k]
    "columns",  # float16 [k], what columns of rows are multiplied by
    "codes",  # uint8 [k, bytes]
    "factors",  # uint8 [n]
    "unit",  # float32 [], what factors are multiplied by
    "steps",  # float16 or float32 [n], of the int8 numbers
    "current",  # int8 [256, numbers of a byte], both tables of toolkit.trellis.Trellis
    "previous",
    "rotation",  # int8 [block, block], a Hadamard matrix
)
DECODING_INPUTS = ("codes", "factors", "unit", "current", "previous", "rotation")
ROW_ZERO = 128  # what stands for 0 in a row of uint8
_PEAK = 127
_LEAST = 1e-30  # the largest number of a row that is all zeros
_AXES_AS_INPUT = 18  # the opset since when ReduceMax takes axes so


def rows_function(opset: int, width: int) -> ir.Function:
    """``QuantizeRows``: values [.., width] and what to multiply each column by, float16 [width], to
    uint8 [.., width] around ``ROW_ZERO`` and the scale of each row [.., 1]."""

    def body(op: OpBuilder, values: ir.Value, columns: ir.Value) -> tuple[ir.Value, ir.Value]:
        return _quantized(op, values, columns, opset)

    return _traced(body, ["values", "columns"], f"QuantizeRows{width}", opset)


def trellis_function(opset: int) -> ir.Function:
    """``TrellisProduct``: rows [.., k] times the matrix [k, n] of codes, float32 [.., n].

    Its inputs are named in :data:`TRELLIS_INPUTS`; the matrix is that of
    ``toolkit.trellis.TrellisWeight``, rows are rounded as by ``QuantizeRows``. What reads constants
    alone is folded by onnxruntime when it loads the model. A native kernel multiplies by the codes
    themselves, and keeps nothing but these.
    """

    def body(op: OpBuilder, *inputs: ir.Value) -> ir.Value:
        values, columns, codes, factors, unit, steps, current, previous, rotation = inputs
        rows, scale = _quantized(op, values, columns, opset)
        matrix = _decoded(op, codes, factors, unit, current, previous, rotation)
        zero = op.Constant(value=ir.tensor(np.uint8(ROW_ZERO)))
        sums = op.Cast(op.MatMulInteger(rows, matrix, zero), to=ir.DataType.FLOAT)
        # Not a product of both scales first: onnxruntime would take that for one number's.
        return op.Mul(op.Mul(sums, op.Cast(steps, to=ir.DataType.FLOAT)), scale)

    return _traced(body, TRELLIS_INPUTS, TRELLIS, opset)


def decoding_function(opset: int) -> ir.Function:
    """``TrellisWeight``: the matrix of codes alone, int8 [k, n], for several products to share.

    Its inputs are those of :data:`TRELLIS_INPUTS` that it needs, in their order.
    """
    return _traced(_decoded, DECODING_INPUTS, DECODING, opset)


def _quantized(
    op: OpBuilder, values: ir.Value, columns: ir.Value, opset: int
) -> tuple[ir.Value, ir.Value]:
    scaled = op.Mul(values, op.Cast(columns, to=ir.DataType.FLOAT))
    high, low = (
        _reduced(op, "ReduceMax", scaled, opset),
        _reduced(op, "ReduceMin", scaled, opset),
    )
    largest = op.Max(high, op.Neg(low), _number(op, _LEAST))
    scale = op.Mul(largest, _number(op, 1 / _PEAK))
    # One kernel divides, rounds and clips; its scales are a vector.
    flat = op.Reshape(scaled, op.Concat(ints(op, -1), op.Shape(columns), axis=0))
    scales = op.Reshape(scale, ints(op, -1))
    zeros = op.Expand(
        op.Constant(value=ir.tensor(np.array([ROW_ZERO], np.uint8))), op.Shape(scales)
    )
    rounded = op.QuantizeLinear(flat, scales, zeros, axis=0)
    return op.Reshape(rounded, op.Shape(values)), scale


def _decoded(
    op: OpBuilder,
    codes: ir.Value,
    factors: ir.Value,
    unit: ir.Value,
    current: ir.Value,
    previous: ir.Value,
    rotation: ir.Value,
) -> ir.Value:
    """What ``toolkit.trellis.TrellisWeight.integers`` makes, int8 [k, n].

    onnxruntime keeps whatever it folds until it has folded all, so each step makes few bytes: rows
    of tables for whole bytes, rotations of int8 that stay int8.
    """
    one, zero = _number(op, 1), op.Constant(value=ir.tensor(np.int8(0)))
    block = op.Slice(op.Shape(rotation), ints(op, 0), ints(op, 1))
    padded = op.Pad(codes, ints(op, 0, 1, 0, 0))
    before = op.Slice(padded, ints(op, 0), ints(op, -1), ints(op, 1))
    parts = [
        op.Reshape(
            op.Gather(table, op.Cast(each, to=ir.DataType.INT32)),
            op.Concat(block, ints(op, -1), axis=0),
        )
        for table, each in ((current, codes), (previous, before))
    ]
    # H (a + b) as [H H] [a b]: nothing adds bytes, and onnxruntime folds no operator of its own
    # domain. All blocks stand side by side, each column with its output's factor.
    values, twice = op.Concat(*parts, axis=0), op.Concat(rotation, rotation, axis=1)
    per_byte = op.Slice(op.Shape(current), ints(op, 1), ints(op, 2))
    numbers = op.Mul(op.Slice(op.Shape(codes), ints(op, 1), ints(op, 2)), per_byte)
    outputs = op.Shape(factors)
    beyond = op.Concat(ints(op, 0), op.Sub(numbers, outputs), axis=0)  # what fills the last byte
    scales = op.Pad(op.Mul(op.Cast(factors, to=ir.DataType.FLOAT), unit), beyond)
    columns = op.Div(op.Slice(op.Shape(values), ints(op, 1), ints(op, 2)), numbers)
    scales = op.Reshape(op.Expand(scales, op.Concat(columns, numbers, axis=0)), ints(op, -1))
    zeros = op.Expand(zero, op.Shape(scales))
    rotated = op.QLinearMatMul(twice, one, zero, values, scales, zeros, one, zero)
    whole = op.Reshape(rotated, op.Concat(ints(op, -1), numbers, axis=0))
    return op.Slice(whole, ints(op, 0), outputs, ints(op, 1))


def _traced(
    body: Callable[..., object], inputs: Sequence[str], name: str, opset: int
) -> ir.Function:
    from onnxscript import build_function  # of the extra `export`

    values = [ir.Value(name=each) for each in inputs]
    function: ir.Function = build_function(
        body, values, domain=WEIGHTS_DOMAIN, name=name, opset_imports={"": opset}
    )
    for node in function.all_nodes():
        node.metadata_props.clear()
    return function


def _reduced(op: OpBuilder, kind: str, values: ir.Value, opset: int) -> ir.Value:
    """The largest or least number of each row, [.., 1]."""
    if opset < _AXES_AS_INPUT:
        return getattr(op, kind)(values, axes=[-1])
    return getattr(op, kind)(values, ints(op, -1))


def _number(op: OpBuilder, value: float) -> ir.Value:
    return op.Constant(value=ir.tensor(np.float32(value)))
