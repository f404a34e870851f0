"""Which of a model's tables are packed, what each may take, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import Budget, CompressedEmbedding
from toolkit.bundle.manifest import StoredHead, StoredTable
from toolkit.errors import BudgetError, InputError
from toolkit.graph.heads import find_heads, serves_heads_alone
from toolkit.graph.own_heads import OwnHead, find_own_heads
from toolkit.graph.products import Head
from toolkit.graph.tables import (
    TableUse,
    called,
    find_large_tables,
    find_tables,
    find_token_table,
)
from toolkit.table.grouped import GroupedTable

from .exact import ExactRows
from .ops.layer import graph_tensors
from .options import ExportOptions

_NAMED = 3  # readers that a message names
_PRODUCTS = ("MatMul", "Gemm", "MatMulNBits", "MatMulInteger")


Embedding = CompressedEmbedding | GroupedTable
"""What stands for a table: codes of ours, or integers that stock operators read."""


@dataclass(frozen=True, eq=False)
class PackedTable:
    """A table, or an output head's matrix of its own, and its compressed form.

    Attributes:
        name: of the stored table in the original graph.
        embedding: what it is replaced by.
        heads: output heads that read the packed table too; of a head's own matrix the products.
        tied: the table stays in the graph for another reader.
        original_nbytes: bytes that it takes in the original file.
        form: how it stands there, for people.
        exact: rows that look-ups give as they are.
    """

    name: str
    embedding: Embedding
    heads: int = 0
    tied: bool = False
    original_nbytes: int = 0
    form: str = "float"
    exact: ExactRows | None = None

    def lookup(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the file gives for ``ids`` int64 [n]: float32 [n, d]."""
        rows = self.embedding.lookup(ids)
        if self.exact is not None:
            self.exact.put_into(np.where(ids < 0, ids + self.embedding.rows, ids), rows)
        return rows

    def parts(self) -> dict[str, int]:
        """Bytes of each tensor that the packed layers read."""
        tensors = self._tensors()
        exact = {} if self.exact is None else self.exact.tensors(self.embedding.rows)
        return {name: ir.tensor(array).nbytes for name, array in {**tensors, **exact}.items()}

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        heads = bool(self.heads)
        if isinstance(self.embedding, GroupedTable):
            return self.embedding.tensors(heads=heads)
        return graph_tensors(self.embedding, column_major=heads)

    def described(self) -> StoredTable:
        """For the manifest."""
        return StoredTable(
            name=self.name,
            rows=self.embedding.rows,
            width=self.embedding.width,
            bytes=sum(self.parts().values()),
            dense_bytes=self.embedding.dense_nbytes,
            original_bytes=self.original_nbytes,
            form=self.form,
        )

    def described_head(self, parity: float | None) -> StoredHead:
        """For the manifest, of a head; ``parity`` as the checks found it."""
        parts = self.parts()
        return StoredHead(
            name=self.name,
            rows=self.embedding.rows,
            width=self.embedding.width,
            bytes=sum(parts.values()),
            dense_bytes=self.embedding.dense_nbytes,
            original_bytes=self.original_nbytes,
            form=self.form,
            by_part=parts,
            parity=parity,
        )


def choose_tables(graph: ir.Graph, name: str | None, every: bool) -> list[TableUse]:
    """The largest table; the one called ``name``; or ``every`` one that is worth it, see find.py.

    Raises:
        InputError: there is none, or none of this name.
    """
    return find_large_tables(graph) if every else [find_token_table(graph, name)]


def check_goes(table: TableUse) -> None:
    """The table can leave the file: but for look-ups and output heads nobody reads it.

    Raises:
        InputError: something else does; the file would hold the packed table beside it.
    """
    heads = find_heads(table.graph, table)
    if serves_heads_alone(table, heads):
        return
    served = {head.node for head in heads}
    # A head of another form keeps the table for itself; the export says so at its end.
    others = [n for n in table.others if n not in served and n.op_type not in _PRODUCTS]
    readers = [called(node) for node in others]
    given = [value.name for value in (table.value, *table.floats) if value.is_graph_output()]
    what = ", ".join([*readers[:_NAMED], *(f"the output {name}" for name in given)])
    if not what:
        return
    raise InputError(
        f"{table.name} is read by {what} too, neither a look-up nor an output "
        "head: it would stay beside its packed form, and the file would grow; leave that out of "
        "the model, or choose another table with --table"
    )


def share_out(budget: Budget, tables: list[TableUse]) -> list[Budget]:
    """A budget for each table: the same ratio or cosine, or bytes in proportion to the numbers.

    In proportion, because every table then has one ratio, as with a budget by ratio.
    """
    if budget.max_bytes is None:
        return [budget] * len(tables)
    sizes = [table.rows * table.width for table in tables]
    return [replace(budget, max_bytes=budget.max_bytes * size // sum(sizes)) for size in sizes]


def out_of_reach(error: BudgetError, table: TableUse) -> BudgetError:
    """The error of one table among several."""
    return BudgetError(f"table {table.name}, {table.rows} x {table.width}: {error}")


def packed_heads(table: TableUse, options: ExportOptions) -> list[Head]:
    """The output heads that are to read the packed table."""
    return find_heads(table.graph, table) if options.head == "packed" else []


def describe(
    tables: list[TableUse],
    embeddings: Sequence[Embedding],
    stored: dict[str, TableUse],
    options: ExportOptions,
    exact: Mapping[str, ExactRows],
) -> list[PackedTable]:
    """What becomes of each table in the graph as it is to be rewritten.

    ``stored``: the tables as they stand in the uncompressed model, by name. ``exact``: rows that
    stay as they are, by the table's name.
    """
    packed = []
    for table, embedding in zip(tables, embeddings, strict=True):
        heads = packed_heads(table, options)
        tied = not serves_heads_alone(table, heads)
        stood = stored[table.name]
        kept, name = exact.get(table.name), table.name
        packed.append(
            PackedTable(name, embedding, len(heads), tied, stood.nbytes, stood.form, kept)
        )
    return packed


def choose_own_heads(graph: ir.Graph, options: ExportOptions) -> list[OwnHead]:
    """The output heads with a matrix of their own that are to be packed.

    Raises:
        InputError: a size was asked for, and there is no such head.
    """
    packs = options.head == "packed" and not options.stock
    found = find_own_heads(graph) if packs else []
    if not found and options.asks_for_own_head:
        shared = any(find_heads(graph, table) for table in find_tables(graph))
        why = "its head reads the table, which has --ratio" if shared else "it has none"
        raise InputError(
            "--head-ratio and --head-bytes are for an output head that is a matrix of its own, and "
            f"of this model {why}; leave them out"
        )
    return found


def own_head(graph: ir.Graph, name: str) -> OwnHead:
    """The head whose matrix has this name.

    Raises:
        InputError: there is none.
    """
    for own in find_own_heads(graph):
        if own.name == name:
            return own
    raise InputError(
        f"the output head {name} is no product of floats any more once the other weights are "
        "smaller; use other --weights, or --head dense"
    )


def describe_heads(heads: list[OwnHead], embeddings: Sequence[Embedding]) -> list[PackedTable]:
    """What becomes of each head, as it stands in the uncompressed model."""
    return [
        PackedTable(own.name, embedding, len(own.heads), False, own.nbytes, own.form)
        for own, embedding in zip(heads, embeddings, strict=True)
    ]
