"""The rewrite for runtimes without operators of ours: a table becomes integers with scales.

Look-ups become onnxruntime's ``GatherBlockQuantized``, output heads that share the table its
``MatMulNBits``. Both read one initializer.
"""

import onnx_ir as ir

from toolkit.graph.forms import MICROSOFT
from toolkit.graph.products import BLOCKS, Head
from toolkit.graph.store import store, store_numbers
from toolkit.graph.tables import Lookup
from toolkit.table.grouped import GroupedTable

from ..exact import ExactRows
from .of_table import OfTable
from .packed_layers import cast_last, cast_to, free, names_of, replace, with_bias
from .quantize_products import INT8_ACTIVATIONS

_INT4_IR_VERSION = 10  # the first that has 4-bit integers


class StockTable(OfTable):
    """Replace every look-up in one table, and the output heads that share it, by stock operators.

    Scales stand in half precision and are cast in front of what reads them, which onnxruntime folds
    when it loads the file.

    Where heads read the table, its bytes stand as MatMulNBits wants them, [V, groups, bytes], and
    the look-up reads the same: no Reshape of the table, which onnxruntime would fold into a copy.
    What is reshaped are the rows that were looked up.

    Args:
        table: name of the initializer to replace.
        embedding: its integers, of the same shape.
        heads: let output heads that share the table read it too; else the dense one stays for them.
        exact: rows that look-ups give as they are.
    """

    def __init__(
        self,
        table: str,
        embedding: GroupedTable,
        *,
        heads: bool = False,
        exact: ExactRows | None = None,
    ) -> None:
        super().__init__(table, embedding.rows, embedding.width, heads=heads, exact=exact)
        self.embedding = embedding

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        use, heads, dtype = self.found(model)
        layer = _Layer(model, self.embedding, self.table, dtype, bool(heads))
        for each in use.lookups:
            name = free(f"{each.gather.name or 'embedding'}_packed", layer.taken)
            self.put_rows(model, each, layer.rows(each, name), name, layer.taken)
        for head in heads:
            layer.put_head(head)
        model.opset_imports.setdefault(MICROSOFT, 1)
        model.ir_version = max(model.ir_version, _INT4_IR_VERSION)
        return ir.passes.PassResult(model, modified=True)


class _Layer:
    """The stored tensors of one table in a graph, and the nodes that read them."""

    def __init__(
        self,
        model: ir.Model,
        embedding: GroupedTable,
        table: str,
        dtype: ir.DataType,
        heads: bool,
    ) -> None:
        self._graph, self._embedding, self._dtype = model.graph, embedding, dtype
        self._blocks = embedding.in_blocks(heads=heads)
        self.taken = names_of(model.graph)
        self._packed, self._scales = (
            store(model.graph, free(f"{table}.{name}", self.taken), array)
            for name, array in embedding.tensors(heads=heads).items()
        )
        if self._scales.dtype != dtype:
            self._scales = self._first("Cast", "cast", [self._scales], to=int(dtype))
        self._by_block: ir.Value | None = None

    def rows(self, lookup: Lookup, name: str) -> list[ir.Node]:
        """Nodes that give the rows of ``lookup``, [.., d]."""
        code, rank = self._embedding.code, 3 if self._blocks else 2
        scales = self._scales
        if self._blocks:  # of as many dimensions as the bytes
            if self._by_block is None:
                axis = store_numbers(self._graph, -1)
                self._by_block = self._first("Unsqueeze", "blocks", [self._scales, axis])
            scales = self._by_block
        gather = ir.node(
            "GatherBlockQuantized",
            [self._packed, lookup.ids, scales],
            {
                "bits": code.bits,
                "block_size": code.group_size,
                "gather_axis": 0,
                "quantize_axis": rank - 1,
            },
            domain=MICROSOFT,
            name=name,
        )
        nodes = [gather]
        if self._blocks:
            nodes += self._joined(lookup.ids, gather.outputs[0], name)
        for node in nodes:
            node.outputs[0].dtype = node.outputs[0].dtype or self._dtype
        return nodes

    def put_head(self, head: Head) -> None:
        """Let a MatMulNBits of the table give what ``head`` gave."""
        code = self._embedding.code
        nodes = cast_to(head.hidden, self._dtype, head.dtype, self.taken)
        hidden = nodes[-1].outputs[0] if nodes else head.hidden
        product = ir.node(
            BLOCKS,
            [hidden, self._packed, self._scales],
            {
                "K": self._embedding.width,
                "N": self._embedding.rows,
                "bits": code.bits,
                "block_size": code.group_size,
                "accuracy_level": INT8_ACTIVATIONS,
            },
            domain=MICROSOFT,
            name=free(f"{head.node.name or 'head'}_packed", self.taken),
        )
        product.outputs[0].dtype = self._dtype
        nodes = cast_last([*nodes, product], head.dtype, self.taken)
        replace(head.node.outputs[0], with_bias(nodes, head, self.taken))

    def _joined(self, ids: ir.Value, blocks: ir.Value, name: str) -> list[ir.Node]:
        """Rows [.., groups, group_size] as [.., d]."""
        code, width = self._embedding.code, self._embedding.width
        filled = -(-width // code.group_size) * code.group_size
        nodes: list[ir.Node] = []

        def op(kind: str, inputs: list[ir.Value], dtype: ir.DataType, **settings: int) -> ir.Value:
            nodes.append(ir.node(kind, inputs, settings, name=f"{name}_{kind.lower()}"))
            output = nodes[-1].outputs[0]
            output.name, output.dtype = free(f"{nodes[-1].name}_output", self.taken), dtype
            return output

        blocks.name = free(f"{name}_blocks", self.taken)
        sizes = op("Shape", [ids], ir.DataType.INT64)
        last = store_numbers(self._graph, filled)
        shape = op("Concat", [sizes, last], ir.DataType.INT64, axis=0)
        rows = op("Reshape", [blocks, shape], self._dtype)
        if filled > width:
            ends = [store_numbers(self._graph, number) for number in (0, width, -1)]
            op("Slice", [rows, *ends], self._dtype)
        return nodes

    def _first(self, kind: str, name: str, inputs: list[ir.Value], **settings: int) -> ir.Value:
        """A node in front of all others of the graph, where branches see it too."""
        node = ir.node(kind, inputs, settings, name=free(f"{inputs[0].name}_{name}", self.taken))
        node.outputs[0].name = free(f"{node.name}_output", self.taken)
        node.outputs[0].dtype = self._dtype
        made = [value.producer() for value in inputs]
        behind = next((each for each in made if each is not None), None)
        if behind is not None:
            self._graph.insert_after(behind, node)
        else:
            self._graph.insert_before(self._graph[0], node)
        return node.outputs[0]
