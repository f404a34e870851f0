"""Ids as ONNX's ``Gather`` takes them: -V .. V - 1, a negative one counted from the table's end.

Others never become the row of another token. Where onnxruntime looks at indices it refuses them
with Gather's own error; where a device does not, their rows are NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from .layer import int32, ints

if TYPE_CHECKING:
    from onnxscript import OpBuilder

_HALVES = 2**23  # up to here float32 holds every half


def row_numbers(
    op: OpBuilder, flat: ir.Value, rows: int, *, floats: bool
) -> tuple[ir.Value, ir.Value]:
    """Row of each id int32 [n], always within the table, and whether it is that id's, bool [n].

    ``flat`` are ids [n], int32 or int64: the comparison is in floats, because the constants of a
    function cannot have the type of its input. ``floats`` keeps to operators that devices have.
    """
    real = ir.DataType.FLOAT if rows <= _HALVES else ir.DataType.DOUBLE
    middle, size = (op.Constant(value=ir.tensor(real.numpy().type(x))) for x in (0.5, rows))
    # -V <= id <= V - 1, in one comparison; before the cast, which would wrap ids around.
    inside = op.Less(op.Abs(op.Add(op.Cast(flat, to=real), middle)), size)
    ids = op.Cast(flat, to=ir.DataType.INT32)
    if not floats:
        return op.Mod(ids, int32(op, rows)), inside
    ids = op.Where(inside, ids, int32(op, 0))
    from_end = op.Less(ids, int32(op, 0))
    return op.Where(from_end, op.Add(ids, int32(op, rows)), ids), inside


def refused_outside(op: OpBuilder, column: ir.Value, flat: ir.Value, rows: int) -> ir.Value:
    """``column`` float [n, 1] as it is, once a Gather has seen that ``flat`` are ids of the table.

    It gathers from a table of V rows and no columns, which takes no memory.
    """
    empty = op.ConstantOfShape(ints(op, rows, 0), value=ir.tensor(np.zeros(1, np.float32)))
    return op.Concat(column, op.Gather(empty, flat, axis=0), axis=1)


def blank_outside(op: OpBuilder, inside: ir.Value) -> ir.Value:
    """What is added to a row, float [n, 1]: 0, or NaN where the id is not ``inside``.

    Added, not multiplied: where there is no NaN, as on Qualcomm's NPU, it is the largest number,
    and that times a row of zeros would be some token's row.
    """
    zero, nan = (op.Constant(value=ir.tensor(np.float32(x))) for x in (0, np.nan))
    return op.Unsqueeze(op.Where(inside, zero, nan), ints(op, 1))
