"""The rows that a file decodes, against ``CompressedEmbedding.lookup``, id by id."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.bundle.manifest import Parity
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import row_reader, table_values
from toolkit.graph.tables import Lookup, TableUse, find_tables
from toolkit.table.grouped import GroupedTable

from ..tables import PackedTable
from .differences import CheckError, max_difference, max_finite
from .limits import OTHERWISE, refuse, told, tolerance_of
from .outside import check_outside, every_id, negative_ids


def check_rows_alone(compressed: Path, original: Path, tables: Sequence[PackedTable]) -> Parity:
    """All that can be checked of a model that onnxruntime does not run here: its rows.

    Args:
        compressed: the rewritten model.
        original: the model before the rewrite.
        tables: those that were replaced.

    Raises:
        CheckError: a row is off.
    """
    before, after = load_plain(original), ir.load(compressed)
    uses = {use.name: use for use in find_tables(before.graph)}
    lookup, lost = 0.0, 0.0
    with told():
        for table in tables:
            use = uses[table.name]
            rows, difference = compare_rows(before, after, use, table)
            lookup = max(lookup, difference)
            lost = max(lost, max_difference(rows, np.asarray(table_values(use), np.float32)))
    return Parity(lookup=lookup, rewrite=lookup, compression=lost, whole=False)


def compare_rows(
    before: ir.Model, after: ir.Model, use: TableUse, table: PackedTable
) -> tuple[NDArray[np.float32], float]:
    """The rows that the file decodes [V, d], and their largest difference to ``lookup``, over every
    id and every place that looks rows up.

    Raises:
        CheckError: the difference is too large.
    """
    rows = np.empty((use.rows, use.width), np.float32)
    difference, scale = 0.0, 0.0
    functions = tuple(after.functions.values())
    for lookup in use.lookups:
        ids, place = _in_the_file(before.graph, after.graph, lookup)
        with row_reader(after.graph, ids, place, functions) as read:
            for some in [*every_id(use.rows), negative_ids(use.rows)]:
                got, wanted = read(some), table.lookup(some)
                difference = max(difference, max_difference(got, wanted))
                scale = max(scale, max_finite(wanted))
                if some[0] >= 0:
                    rows[some] = got
            check_outside(read, use, zeros=isinstance(table.embedding, GroupedTable))
    refuse("the decode graph and lookup()", difference, tolerance_of(use) * max(1.0, scale))
    return rows, difference


def _in_the_file(before: ir.Graph, after: ir.Graph, lookup: Lookup) -> tuple[ir.Value, ir.Value]:
    """Ids and rows of a look-up, in the rewritten graph.

    The rewrite leaves the names of what goes in and what comes out as they were. Two branches may
    have the same names, so that the order counts too.
    """
    name = lookup.rows.name
    number = list(_made(before, name)).index(lookup.rows)
    rows = list(_made(after, name))[number]
    held = [rows]
    for value in held:  # grows
        if value.name == lookup.ids.name:
            return value, rows
        node = value.producer()
        held += [] if node is None else [each for each in node.inputs if each is not None]
    raise CheckError(f"{name} is no longer made of {lookup.ids.name}; {OTHERWISE}")


def _made(graph: ir.Graph, name: str | None) -> Iterator[ir.Value]:
    """What nodes make under this name, in order."""
    for node in graph.all_nodes():
        yield from (value for value in node.outputs if value.name == name)
