"""The rewrite: a table's Gathers become ``ai.lighttoken::CompressedEmbedding`` nodes, the output
heads that share it ``ai.lighttoken::CompressedHead`` ones."""

import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.graph.contract import HEAD, LOOKUP
from toolkit.graph.heads import find_heads
from toolkit.graph.products import Head
from toolkit.graph.store import store_numbers, store_once
from toolkit.graph.tables import TableUse, find_tables

from ..exact import ExactRows
from ..ops import head, lookup
from ..ops.exact import put_exact
from ..ops.layer import PackedLayer
from .base import Pass
from .packed_layers import (
    add_functions,
    add_tensors,
    cast_last,
    check_opset,
    free,
    function_name,
    names_of,
    put_head,
    replace,
)


class CompressTable(Pass):
    """Replace every look-up in one table by a node that decodes the packed rows.

    The packed tensors become initializers named after the table, and the decode graph a function
    of the model, so that any onnxruntime runs the file. Where something else reads the table too,
    the table stays for it; ``TableUse.others`` says so beforehand. What nobody reads any more goes:
    the table, its scales, what made floats of them.

    A model's second table has functions of its own, see :mod:`toolkit.graph.contract`.

    Args:
        table: name of the initializer to replace.
        embedding: its compressed form, of the same shape.
        heads: let output heads that share the table read the same packed tensors, which then stand
            column-major; else the dense table stays for them.
        floats: decode in floats, where a target has no integer products.
        exact: rows that look-ups give as they are.
    """

    def __init__(
        self,
        table: str,
        embedding: CompressedEmbedding,
        *,
        heads: bool = False,
        floats: bool = False,
        exact: ExactRows | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        self.embedding = embedding
        self.heads = heads
        self.floats = floats
        self.exact = exact

    def requires(self, model: ir.Model) -> None:
        """The table is there, of the embedding's shape, and the opset has the operators."""
        use = self._use(model)
        if use is None:
            raise ir.passes.PreconditionError(f"no Gather reads a table {self.table!r} by ids")
        if (use.rows, use.width) != (self.embedding.rows, self.embedding.width):
            raise ir.passes.PreconditionError(
                f"table {self.table!r} is {use.rows} x {use.width}, the embedding "
                f"{self.embedding.rows} x {self.embedding.width}"
            )
        check_opset(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        use = self._use(model)
        assert use is not None
        heads = find_heads(model.graph, use) if self.heads else []
        dtype = common_type(use, heads)
        decoder = self._decoder(model, dtype, heads)
        taken = names_of(model.graph)
        stored = add_tensors(model, decoder, self.table, taken)
        for each in use.lookups:
            name = free(f"{each.gather.name or 'embedding'}_packed", taken)
            nodes = [decoder.node(each.ids, stored, name)]
            nodes += self._exact(model, each.ids, nodes[-1].outputs[0], name, taken)
            replace(each.rows, cast_last(nodes, each.dtype, taken))
        layers = [decoder]
        if heads:
            layers.append(self._projector(model, dtype))
        for served in heads:
            put_head(layers[1], stored, served, taken)
        add_functions(model, layers)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Nothing looks rows up in the dense table any more."""
        if self._use(model) is not None:
            raise ir.passes.PostconditionError(f"a Gather still reads {self.table!r}")

    def _decoder(self, model: ir.Model, dtype: ir.DataType, heads: list[Head]) -> PackedLayer:
        return lookup.build_decode_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=dtype,
            column_major=bool(heads),
            name=function_name(model, LOOKUP),
            floats=self.floats,
        )

    def _exact(
        self, model: ir.Model, ids: ir.Value, decoded: ir.Value, name: str, taken: set[str]
    ) -> list[ir.Node]:
        if self.exact is None:
            return []
        rows = self.embedding.rows
        return put_exact_rows(model.graph, self.table, self.exact, rows, ids, decoded, name, taken)

    def _projector(self, model: ir.Model, dtype: ir.DataType) -> PackedLayer:
        return head.build_head_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=dtype,
            name=function_name(model, HEAD),
        )

    def _use(self, model: ir.Model) -> TableUse | None:
        tables = {table.name: table for table in find_tables(model.graph)}
        return tables.get(self.table)


def common_type(use: TableUse, heads: list[Head]) -> ir.DataType:
    """float16 where all that is replaced is; what else a table is of goes through float32."""
    wanted = {each.dtype for each in use.lookups} | {each.dtype for each in heads}
    return ir.DataType.FLOAT16 if wanted == {ir.DataType.FLOAT16} else ir.DataType.FLOAT


def put_exact_rows(
    graph: ir.Graph,
    table: str,
    exact: ExactRows,
    rows: int,
    ids: ir.Value,
    decoded: ir.Value,
    name: str,
    taken: set[str],
) -> list[ir.Node]:
    """Nodes that give ``decoded``, or where an id of ``ids`` is one of ``exact`` its row.

    ``table``, of so many ``rows``, names what is stored; ``name`` the nodes.
    """
    decoded.name = free(f"{name}_decoded", taken)
    held = {
        key: store_once(graph, f"{table}.{key}", array)
        for key, array in exact.tensors(rows).items()
    }
    return put_exact(
        ids,
        decoded,
        held["exact.ids"],
        held["exact.rows"],
        name,
        lambda axis: store_numbers(graph, axis),
    )
