"""The rewrite of an output head that is a matrix of its own: products with it become
``ai.lighttoken::CompressedHead`` nodes."""

import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.graph.contract import HEAD
from toolkit.graph.own_heads import OwnHead, find_own_heads

from ..ops.head import build_head_graph
from .base import Pass
from .packed_layers import (
    add_functions,
    add_tensors,
    check_opset,
    function_name,
    names_of,
    put_head,
)


class CompressHead(Pass):
    """Replace every product with one matrix by a node that goes over its packed rows.

    The packed tensors become initializers named after the matrix, which goes, and the head graph a
    function of the model. A bias and what stands behind the product stay.

    Args:
        matrix: name of the stored matrix.
        embedding: its compressed form, of as many rows and columns.
    """

    def __init__(self, matrix: str, embedding: CompressedEmbedding) -> None:
        super().__init__()
        self.matrix = matrix
        self.embedding = embedding

    def requires(self, model: ir.Model) -> None:
        """The head is there, of the embedding's shape, and the opset has the operators."""
        own = self._own(model)
        if own is None:
            raise ir.passes.PreconditionError(f"no output head has a matrix {self.matrix!r}")
        if (own.rows, own.width) != (self.embedding.rows, self.embedding.width):
            raise ir.passes.PreconditionError(
                f"head {self.matrix!r} is {own.rows} x {own.width}, the embedding "
                f"{self.embedding.rows} x {self.embedding.width}"
            )
        check_opset(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        own = self._own(model)
        assert own is not None
        types = {head.dtype for head in own.heads}
        half = types == {ir.DataType.FLOAT16}
        layer = build_head_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=ir.DataType.FLOAT16 if half else ir.DataType.FLOAT,
            name=function_name(model, HEAD),
        )
        taken = names_of(model.graph)
        stored = add_tensors(model, layer, self.matrix, taken)
        for head in own.heads:
            put_head(layer, stored, head, taken)
        add_functions(model, [layer])
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Nothing multiplies by the dense matrix any more."""
        if self._own(model) is not None:
            raise ir.passes.PostconditionError(f"a product still reads {self.matrix!r}")

    def _own(self, model: ir.Model) -> OwnHead | None:
        return {own.name: own for own in find_own_heads(model.graph)}.get(self.matrix)
