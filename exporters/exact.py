"""Rows that a user names to stay as they are: ``--exact-rows 0,2,100-110`` or ``special``."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit import Budget
from toolkit.errors import BudgetError, InputError

from .options import SPECIAL
from .sources.prior import special_tokens

MOST = 256
"""Exact rows of a table: each id that is looked up is compared with all of them."""
_FORMS = f"ids and ranges such as 0,2,100-110, or {SPECIAL}"


@dataclass(frozen=True, eq=False)
class ExactRows:
    """Rows that a table keeps as they are, beside the packed ones.

    Attributes:
        ids: int64 [n], increasing.
        rows: float32 [n, d].
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.float32]

    @cached_property
    def nbytes(self) -> int:
        """Bytes that they take in the file."""
        return sum(array.nbytes for array in self.tensors(0).values())

    def tensors(self, rows: int) -> dict[str, NDArray[np.float32]]:
        """What the graph holds of them, for a table of ``rows``: ids twice, as they are and as they
        are counted from the table's end, in floats, which every device compares; and the rows."""
        ids = np.concatenate([self.ids, self.ids - rows]).astype(np.float32)
        return {"exact.ids": ids, "exact.rows": np.concatenate([self.rows, self.rows])}

    def put_into(self, ids: NDArray[np.int64], decoded: NDArray[np.float32]) -> None:
        """Write them over the ``decoded`` rows [n, d] of ``ids`` int64 [n]."""
        at = np.searchsorted(self.ids, ids)
        known = self.ids[np.minimum(at, len(self.ids) - 1)] == ids
        decoded[known] = self.rows[at[known]]


def exact_rows(asked: str, values: NDArray[np.floating], tokenizer: Path) -> ExactRows:
    """The rows of a table ``values`` [V, d] that ``asked`` names.

    Raises:
        InputError: no list of ids, ids outside the table, too many, or ``special`` without a
            tokenizer that names some.
    """
    rows = len(values)
    ids = special_tokens(tokenizer) if asked.strip() == SPECIAL else _parsed(asked)
    ids = sorted(set(ids))
    if not ids:
        raise InputError(
            f"exact_rows {asked!r}: {tokenizer.name} names no special token; give {_FORMS}"
        )
    outside = [each for each in ids if each >= rows]
    if outside and asked.strip() != SPECIAL:
        raise InputError(
            f"exact_rows {outside[0]} is outside the table's {rows} rows; give {_FORMS}"
        )
    ids = [each for each in ids if each < rows]
    if len(ids) > MOST:
        raise InputError(f"exact_rows names {len(ids)} rows; give {MOST} at most")
    if rows > 2**24:
        raise InputError(
            f"a table of {rows} rows has ids that floats cannot tell apart; leave exact_rows out"
        )
    chosen = np.array(ids, np.int64)
    return ExactRows(chosen, np.asarray(values[chosen], np.float32))


def _parsed(asked: str) -> list[int]:
    ids: list[int] = []
    for part in asked.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"exact_rows {asked!r} is no list of ids; give {_FORMS}")
        start, end = int(first), int(last or first)
        if end < start or end - start >= 2**24:
            raise InputError(f"exact_rows {part.strip()!r} is no range of ids; give {_FORMS}")
        ids += range(start, end + 1)
    return ids


def without(budget: Budget, rows: int, width: int, exact: ExactRows | None) -> Budget:
    """What is left of a table's ``budget`` for its packed rows.

    Raises:
        BudgetError: nothing.
    """
    if exact is None or budget.min_cosine is not None:
        return budget
    left = budget.bytes_for(rows, width) - exact.nbytes
    if left < 1:
        raise BudgetError(
            f"the exact rows take {exact.nbytes:,} bytes, all that the table may; name fewer, or "
            "give a smaller --ratio"
        )
    return replace(budget, ratio=None, max_bytes=left)
