"""The rewrite: a table's Gathers become ``ai.lighttoken::CompressedEmbedding`` nodes, the output
heads that share it ``ai.lighttoken::CompressedHead`` ones."""

import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN, HEAD, LOOKUP, MIN_OPSET, VERSION, free_name
from toolkit.graph.heads import Head, find_heads
from toolkit.graph.tables import TableUse, find_tables

from ..ops import head, lookup
from ..ops.layer import PackedLayer
from .base import Pass, put_in_place, store

_FUNCTIONS_IR_VERSION = 8  # the first in which a model may hold functions


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
    """

    def __init__(
        self,
        table: str,
        embedding: CompressedEmbedding,
        *,
        heads: bool = False,
        floats: bool = False,
    ) -> None:
        super().__init__()
        self.table = table
        self.embedding = embedding
        self.heads = heads
        self.floats = floats

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
        dtype = _common_type(use, heads)
        decoder = self._decoder(model, dtype, heads)
        taken = _names(model.graph)
        stored = [
            store(model.graph, _free(f"{self.table}.{name}", taken), array)
            for name, array in decoder.tensors.items()
        ]
        for each in use.lookups:
            name = _free(f"{each.gather.name or 'embedding'}_packed", taken)
            nodes = [decoder.node(each.ids, stored, name)]
            _replace(each.rows, _cast(nodes, each.dtype, taken))
        layers = [decoder]
        if heads:
            layers.append(self._projector(model, dtype))
        for served in heads:
            projector = layers[1]
            name = _free(f"{served.node.name or 'head'}_packed", taken)
            nodes = _to(served.hidden, _type(projector), served.dtype, taken)
            hidden = nodes[-1].outputs[0] if nodes else served.hidden
            nodes = _cast([*nodes, projector.node(hidden, stored, name)], served.dtype, taken)
            _replace(served.node.outputs[0], _with_bias(nodes, served, taken))
        for layer in layers:
            model.functions[layer.function.identifier()] = layer.function
        model.opset_imports[DOMAIN] = VERSION
        model.ir_version = max(model.ir_version, _FUNCTIONS_IR_VERSION)
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
            name=_function_name(model, LOOKUP),
            floats=self.floats,
        )

    def _projector(self, model: ir.Model, dtype: ir.DataType) -> PackedLayer:
        return head.build_head_graph(
            self.embedding,
            opset=model.opset_imports[""],
            dtype=dtype,
            name=_function_name(model, HEAD),
        )

    def _use(self, model: ir.Model) -> TableUse | None:
        tables = {table.name: table for table in find_tables(model.graph)}
        return tables.get(self.table)


def _common_type(use: TableUse, heads: list[Head]) -> ir.DataType:
    """float16 where all that is replaced is; what else a table is of goes through float32."""
    wanted = {each.dtype for each in use.lookups} | {each.dtype for each in heads}
    return ir.DataType.FLOAT16 if wanted == {ir.DataType.FLOAT16} else ir.DataType.FLOAT


def _function_name(model: ir.Model, name: str) -> str:
    taken = {function.name for function in model.functions.values() if function.domain == DOMAIN}
    return free_name(name, taken)


def _type(layer: PackedLayer) -> ir.DataType:
    return ir.DataType(int(layer.attributes["to"]))


def _replace(old: ir.Value, new: list[ir.Node]) -> None:
    """Let the last of ``new`` make ``old``, and remove what nobody needs any more."""
    maker = old.producer()
    assert maker is not None
    inputs = set(maker.inputs)
    put_in_place(old, new)
    for value in inputs:
        _drop(value)


def _drop(value: ir.Value | None) -> None:
    """Remove a value that nobody reads: its initializer, or the node that makes it, and so on."""
    if value is None or value.uses() or value.is_graph_output():
        return
    maker, graph = value.producer(), value.graph
    if maker is not None:
        if any(output.uses() or output.is_graph_output() for output in maker.outputs):
            return
        inputs = set(maker.inputs)
        assert maker.graph is not None
        maker.graph.remove(maker, safe=True)
        for each in inputs:
            _drop(each)
    elif value.is_initializer() and graph is not None:
        assert value.name is not None
        del graph.initializers[value.name]
        if value in graph.inputs:  # one that callers may override
            graph.inputs.remove(value)


def _to(value: ir.Value, dtype: ir.DataType, now: ir.DataType, taken: set[str]) -> list[ir.Node]:
    """A Cast of ``value`` to ``dtype``, unless it is that ``now``."""
    if dtype == now:
        return []
    node = ir.node("Cast", [value], attributes={"to": int(dtype)}, name=_free("packed_cast", taken))
    node.outputs[0].dtype = dtype
    node.outputs[0].name = _free(f"{node.name}_output", taken)
    return [node]


def _cast(nodes: list[ir.Node], dtype: ir.DataType, taken: set[str]) -> list[ir.Node]:
    """``nodes``, and a Cast of the last one's output to ``dtype`` unless it is that."""
    output = nodes[-1].outputs[0]
    assert output.dtype is not None
    if output.dtype != dtype:
        output.name = _free(f"{nodes[-1].name}_output", taken)
    return [*nodes, *_to(output, dtype, output.dtype, taken)]


def _with_bias(nodes: list[ir.Node], head: Head, taken: set[str]) -> list[ir.Node]:
    if head.bias is None:
        return nodes
    product = nodes[-1].outputs[0]
    product.name = _free(f"{nodes[-1].name}_without_bias", taken)
    return [*nodes, ir.node("Add", [product, head.bias], name=_free("head_bias", taken))]


def _names(graph: ir.Graph) -> set[str]:
    """Names of every node and value, those in branches included."""
    names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph.all_nodes():
        names |= {node.name, *(value.name for value in (*node.inputs, *node.outputs) if value)}
    return {name for name in names if name}


def _free(name: str, taken: set[str]) -> str:
    """``name``, or one like it that is not taken yet; taken from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def check_opset(model: ir.Model) -> None:
    """Raise InputError where the model's opset is too old for the decode graph."""
    opset = model.opset_imports.get("", 0)
    if opset < MIN_OPSET:
        raise InputError(
            f"the model has opset {opset}, the packed layer needs {MIN_OPSET} or newer; export it "
            "again, or convert it with onnx.version_converter"
        )
