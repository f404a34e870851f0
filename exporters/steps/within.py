"""A budget is of what the graph holds, which is more than the file where a head reads the table.

Columns of codes are filled up to multiples of :data:`..ops.layer.COLUMN_STEP` there. How much that
is depends on how many rows each stage covers, which is known once the table is compressed.
"""

from collections.abc import Callable

from toolkit import Budget, CompressedEmbedding
from toolkit.errors import BudgetError

from ..ops.layer import COLUMN_STEP, graph_tensors

_TRIES = 4
_NEGLIGIBLE = 0.01  # of a budget: so much is left out at once, as large tables take long to repeat


def compress_within(
    budget: Budget,
    rows: int,
    width: int,
    make: Callable[[Budget], CompressedEmbedding],
    *,
    heads: bool,
) -> CompressedEmbedding:
    """``make`` a table ``rows`` x ``width`` whose tensors in the graph keep to ``budget``.

    Args:
        budget: of the table; one of min_cosine has no bytes to keep to.
        rows: of the table.
        width: of the table.
        make: compresses to a budget.
        heads: output heads read it, so that it is stored by columns.

    Raises:
        BudgetError: it cannot be reached.
    """
    if not heads or budget.min_cosine is not None:
        return make(budget)
    most = budget.bytes_for(rows, width)
    filling = (COLUMN_STEP - 1) * width
    wanted = most - filling if filling < _NEGLIGIBLE * most else most
    for _ in range(_TRIES):
        packed = make(budget if wanted == most else Budget(max_bytes=wanted))
        tensors = graph_tensors(packed, column_major=True)
        over = sum(array.nbytes for array in tensors.values()) - most
        if over <= 0:
            return packed
        wanted -= over
        if wanted < 1:
            break
    raise BudgetError(
        f"{most:,} bytes are too few for a {rows} x {width} table that an output head reads; "
        "give a smaller --ratio, or --head dense"
    )
