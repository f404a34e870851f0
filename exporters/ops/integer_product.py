"""What products of integers need in a graph: rows as uint8, and weights that a trellis decodes.

Both are functions of the model. That of the weights reads constants alone, so onnxruntime runs it
when it loads the model and keeps int8 numbers; the file holds 2 to 4 bits of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from toolkit.graph.contract import WEIGHTS_DOMAIN
from toolkit.trellis import TRELLISES

from .layer import ints

if TYPE_CHECKING:
    from onnxscript import OpBuilder

ROW_ZERO = 128  # what stands for 0 in a row of uint8
_PEAK = 127
_LEAST = 1e-30  # the largest number of a row that is all zeros
_AXES_AS_INPUT = 18  # the opset since when ReduceMax takes axes so


def rows_function(opset: int, width: int) -> ir.Function:
    """``QuantizeRows``: values [.., width] and what to multiply each column by, float16 [width], to
    uint8 [.., width] around ``ROW_ZERO`` and the scale of each row [.., 1]."""

    def body(op: OpBuilder, values: ir.Value, factors: ir.Value) -> tuple[ir.Value, ir.Value]:
        scaled = op.Mul(values, op.Cast(factors, to=ir.DataType.FLOAT))
        high, low = (
            _reduced(op, "ReduceMax", scaled, opset),
            _reduced(op, "ReduceMin", scaled, opset),
        )
        largest = op.Max(high, op.Neg(low), _number(op, _LEAST))
        scale = op.Mul(largest, _number(op, 1 / _PEAK))
        # One kernel divides, rounds and clips; its scales are a vector.
        flat = op.Reshape(scaled, ints(op, -1, width))
        scales = op.Reshape(scale, ints(op, -1))
        zeros = op.Expand(
            op.Constant(value=ir.tensor(np.array([ROW_ZERO], np.uint8))), op.Shape(scales)
        )
        rounded = op.QuantizeLinear(flat, scales, zeros, axis=0)
        return op.Reshape(rounded, op.Shape(values)), scale

    return _traced(body, ["values", "factors"], f"QuantizeRows{width}", opset)


def trellis_function(opset: int, form: str, block: int) -> ir.Function:
    """``TrellisWeight``: what ``toolkit.trellis.TrellisWeight.integers`` makes, int8 [k, n].

    Of codes uint8 [k, bytes], factors float32 [n], both tables int8 [256, numbers]
    and the Hadamard matrix int8 [block, block]; n are all numbers of the codes' bytes.

    onnxruntime keeps whatever it folds until it has folded all, so each step makes few bytes: rows
    of tables for whole bytes, rotations of int8 that stay int8.
    """
    per_byte = len(TRELLISES[form])

    def body(
        op: OpBuilder,
        codes: ir.Value,
        factors: ir.Value,
        current: ir.Value,
        previous: ir.Value,
        rotation: ir.Value,
    ) -> ir.Value:
        one, zero = _number(op, 1), op.Constant(value=ir.tensor(np.int8(0)))
        padded = op.Pad(codes, ints(op, 0, 1, 0, 0))
        before = op.Slice(padded, ints(op, 0), ints(op, -1), ints(op, 1))
        parts = [
            op.Reshape(op.Gather(table, op.Cast(each, to=ir.DataType.INT32)), ints(op, block, -1))
            for table, each in ((current, codes), (previous, before))
        ]
        # H (a + b) as [H H] [a b]: nothing adds bytes, and onnxruntime folds no operator of its own
        # domain. All blocks stand side by side, each column with its output's factor.
        values, twice = op.Concat(*parts, axis=0), op.Concat(rotation, rotation, axis=1)
        outputs = op.Shape(factors)
        columns = op.Div(op.Slice(op.Shape(values), ints(op, 1), ints(op, 2)), outputs)
        scales = op.Expand(factors, op.Concat(columns, outputs, axis=0))
        scales = op.Reshape(scales, ints(op, -1))
        zeros = op.Expand(zero, op.Shape(scales))
        rotated = op.QLinearMatMul(twice, one, zero, values, scales, zeros, one, zero)
        return op.Reshape(rotated, op.Concat(ints(op, -1), outputs, axis=0))

    return _traced(
        body,
        ["codes", "factors", "current", "previous", "rotation"],
        f"TrellisWeight{per_byte}x{block}",
        opset,
    )


def _traced(body: Callable[..., object], inputs: list[str], name: str, opset: int) -> ir.Function:
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
