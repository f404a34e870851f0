"""Bits and group size of each table that is to become integers, for stock operators."""

from toolkit.errors import BudgetError
from toolkit.methods.grouped import choose_code
from toolkit.table.grouped import GroupedCode

from ..exact import without
from ..tables import out_of_reach, packed_heads, share_out
from .state import Export


def choose_codes(state: Export) -> list[GroupedCode]:
    """Those that are asked for, or what the budget leaves.

    Raises:
        BudgetError: the budget is too small for stock operators.
        InputError: a budget of min_cosine.
    """
    options, tables = state.options, state.tables
    budget = state.budget
    shares = [None] * len(tables) if budget is None else share_out(budget, tables)
    found = []
    for table, share in zip(tables, shares, strict=True):
        if share is not None:
            share = without(share, table.rows, table.width, state.exact.get(table.name))
        try:
            code = choose_code(
                table.rows,
                table.width,
                share,
                bits=options.table_bits,
                group_size=options.table_group_size,
                known=state.target.stock,
                blocks=bool(packed_heads(table, options)),
            )
        except BudgetError as error:
            raise (out_of_reach(error, table) if len(tables) > 1 else error) from error
        found.append(code)
    return found
