"""What the two rewrites of a table share: which table, the rows that stay exact, what must hold."""

import onnx_ir as ir

from toolkit.graph.heads import find_heads
from toolkit.graph.products import Head
from toolkit.graph.store import store_numbers, store_once
from toolkit.graph.tables import Lookup, TableUse, find_tables

from ..exact import ExactRows
from ..ops.exact import put_exact
from .base import Pass
from .packed_layers import cast_last, check_opset, free, replace


class OfTable(Pass):
    """A pass that puts other nodes in the place of every look-up in one table.

    Args:
        table: name of the initializer to replace.
        rows: of what stands for it.
        width: the same.
        heads: let output heads that share the table read what stands for it too; else the dense
            table stays for them.
        exact: rows that look-ups give as they are.
    """

    def __init__(
        self, table: str, rows: int, width: int, *, heads: bool, exact: ExactRows | None
    ) -> None:
        super().__init__()
        self.table = table
        self.rows = rows
        self.width = width
        self.heads = heads
        self.exact = exact

    def requires(self, model: ir.Model) -> None:
        """The table is there, of the embedding's shape, and the opset has the operators."""
        use = self._use(model)
        if use is None:
            raise ir.passes.PreconditionError(f"no Gather reads a table {self.table!r} by ids")
        if (use.rows, use.width) != (self.rows, self.width):
            raise ir.passes.PreconditionError(
                f"table {self.table!r} is {use.rows} x {use.width}, the embedding "
                f"{self.rows} x {self.width}"
            )
        check_opset(model)

    def ensures(self, model: ir.Model) -> None:
        """Nothing looks rows up in the dense table any more."""
        if self._use(model) is not None:
            raise ir.passes.PostconditionError(f"a Gather still reads {self.table!r}")

    def found(self, model: ir.Model) -> tuple[TableUse, list[Head], ir.DataType]:
        """The table, the heads to serve, and the type of what is decoded.

        That is float16 where all that is replaced is; what else a table is of goes through float32.
        """
        use = self._use(model)
        assert use is not None
        heads = find_heads(model.graph, use) if self.heads else []
        wanted = {each.dtype for each in use.lookups} | {each.dtype for each in heads}
        half = wanted == {ir.DataType.FLOAT16}
        return use, heads, ir.DataType.FLOAT16 if half else ir.DataType.FLOAT

    def put_rows(
        self, model: ir.Model, lookup: Lookup, nodes: list[ir.Node], name: str, taken: set[str]
    ) -> None:
        """Let ``nodes`` make the rows of ``lookup``, or where an id is an exact row's that row."""
        if self.exact is not None:
            decoded = nodes[-1].outputs[0]
            decoded.name = free(f"{name}_decoded", taken)
            held = {
                key: store_once(model.graph, f"{self.table}.{key}", array)
                for key, array in self.exact.tensors(self.rows).items()
            }
            nodes = nodes + put_exact(
                lookup.ids,
                decoded,
                held["exact.ids"],
                held["exact.rows"],
                name,
                lambda axis: store_numbers(model.graph, axis),
            )
        replace(lookup.rows, cast_last(nodes, lookup.dtype, taken))

    def _use(self, model: ir.Model) -> TableUse | None:
        tables = {table.name: table for table in find_tables(model.graph)}
        return tables.get(self.table)
