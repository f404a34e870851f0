"""Rows that are exactly zero: what is left of a row is multiplied by, 1 or 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .layer import int32

if TYPE_CHECKING:
    from onnxscript import OpBuilder


def kept(op: OpBuilder, rows: ir.Value, bits: ir.Value) -> ir.Value:
    """0 where a row int32 [n] is marked in ``bits`` uint8 [ceil(V / 8)], else 1; float [n].

    In floats, because devices lack shifts and remainders of integers: the byte over 2 ** bit, and
    whether that is even.
    """
    byte = op.Div(rows, int32(op, 8))
    bit = op.Sub(rows, op.Mul(byte, int32(op, 8)))
    shares = op.Constant(value=ir.tensor(np.float32(0.5) ** np.arange(8, dtype=np.float32)))
    marks = op.Cast(op.Gather(bits, byte, axis=0), to=ir.DataType.FLOAT)
    shifted = op.Floor(op.Mul(marks, op.Gather(shares, bit, axis=0)))
    half, one, two = (op.Constant(value=ir.tensor(np.float32(x))) for x in (0.5, 1, 2))
    odd = op.Sub(shifted, op.Mul(op.Floor(op.Mul(shifted, half)), two))
    return op.Sub(one, odd)
