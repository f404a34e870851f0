"""Which of a model's tables are packed, what each may take, and what became of it."""

from dataclasses import dataclass, replace

import onnx_ir as ir

from toolkit import Budget, CompressedEmbedding
from toolkit.bundle.manifest import StoredTable
from toolkit.errors import BudgetError
from toolkit.graph.heads import Head, find_heads, serves_heads_alone
from toolkit.graph.tables import TableUse, find_large_tables, find_token_table

from .ops.layer import graph_tensors
from .options import ExportOptions


@dataclass(frozen=True, eq=False)
class PackedTable:
    """A table and its compressed form.

    Attributes:
        name: of the stored table in the original graph.
        embedding: what it is replaced by.
        heads: output heads that read the packed table too.
        tied: the table stays in the graph for another reader.
        original_nbytes: bytes that it takes in the original file.
        form: how it stands there, for people.
    """

    name: str
    embedding: CompressedEmbedding
    heads: int = 0
    tied: bool = False
    original_nbytes: int = 0
    form: str = "float"

    def parts(self) -> dict[str, int]:
        """Bytes of each tensor that the packed layers read."""
        tensors = graph_tensors(self.embedding, column_major=bool(self.heads))
        return {name: array.nbytes for name, array in tensors.items()}

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


def choose_tables(graph: ir.Graph, name: str | None, every: bool) -> list[TableUse]:
    """The largest table; the one called ``name``; or ``every`` one that is worth it, see find.py.

    Raises:
        InputError: there is none, or none of this name.
    """
    return find_large_tables(graph) if every else [find_token_table(graph, name)]


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
    embeddings: list[CompressedEmbedding],
    stored: dict[str, TableUse],
    options: ExportOptions,
) -> list[PackedTable]:
    """What becomes of each table in the graph as it is to be rewritten.

    ``stored``: the tables as they stand in the uncompressed model, by name.
    """
    packed = []
    for table, embedding in zip(tables, embeddings, strict=True):
        heads = packed_heads(table, options)
        tied = not serves_heads_alone(table, heads)
        stood = stored[table.name]
        packed.append(
            PackedTable(table.name, embedding, len(heads), tied, stood.nbytes, stood.form)
        )
    return packed
