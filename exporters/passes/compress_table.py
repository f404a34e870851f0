"""The rewrite: a table's Gathers become ``ai.lighttoken::CompressedEmbedding`` nodes, the output
heads that share it ``ai.lighttoken::CompressedHead`` ones."""

import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.graph.contract import HEAD, LOOKUP
from toolkit.graph.products import Head

from ..exact import ExactRows
from ..ops import head, lookup
from ..ops.layer import PackedLayer
from .of_table import OfTable
from .packed_layers import (
    add_functions,
    add_tensors,
    free,
    function_name,
    names_of,
    put_head,
)


class CompressTable(OfTable):
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
        super().__init__(table, embedding.rows, embedding.width, heads=heads, exact=exact)
        self.embedding = embedding
        self.floats = floats

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        use, heads, dtype = self.found(model)
        decoder = self._decoder(model, dtype, heads)
        taken = names_of(model.graph)
        stored = add_tensors(model, decoder, self.table, taken)
        for each in use.lookups:
            name = free(f"{each.gather.name or 'embedding'}_packed", taken)
            self.put_rows(model, each, [decoder.node(each.ids, stored, name)], name, taken)
        layers = [decoder]
        if heads:
            layers.append(self._projector(model, dtype))
        for served in heads:
            put_head(layers[1], stored, served, taken)
        add_functions(model, layers)
        return ir.passes.PassResult(model, modified=True)

    def _decoder(self, model: ir.Model, dtype: ir.DataType, heads: list[Head]) -> PackedLayer:
        return lookup.build_decode_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=dtype,
            column_major=bool(heads),
            name=function_name(model, LOOKUP),
            floats=self.floats,
        )

    def _projector(self, model: ir.Model, dtype: ir.DataType) -> PackedLayer:
        return head.build_head_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=dtype,
            name=function_name(model, HEAD),
        )
