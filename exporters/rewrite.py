"""The rewrite: a table's Gathers become ``ai.lighttoken::CompressedEmbedding`` nodes, the output
heads that share it ``ai.lighttoken::CompressedHead`` ones."""

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit import CompressedEmbedding
from toolkit.errors import InputError

from .decode import build_decode_graph
from .find import TableUse, find_tables
from .head import build_head_graph
from .heads import Head, find_heads
from .layer import DOMAIN, MIN_OPSET, VERSION

_FUNCTIONS_IR_VERSION = 8  # the first in which a model may hold functions


class CompressTable(ir.passes.InPlacePass):
    """Replace every Gather from one table by a node that decodes the packed rows.

    The packed tensors become initializers named after the table, and the decode graph a function
    of the model, so that any onnxruntime runs the file. Where something else reads the table too,
    the dense table stays for it; ``TableUse.others`` says so beforehand.

    Args:
        table: name of the initializer to replace.
        embedding: its compressed form, of the same shape.
        heads: let output heads that share the table read the same packed tensors, which then stand
            in planes; else the dense table stays for them.
    """

    def __init__(self, table: str, embedding: CompressedEmbedding, *, heads: bool = False) -> None:
        super().__init__()
        self.table = table
        self.embedding = embedding
        self.heads = heads

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
        assert use.value.dtype is not None
        opset, wanted = model.opset_imports[""], use.value.dtype
        # Kernels know these two; what else a table is of goes through float32.
        dtype = wanted if wanted in (ir.DataType.FLOAT, ir.DataType.FLOAT16) else ir.DataType.FLOAT
        heads = find_heads(model.graph, use) if self.heads else []
        decoder = build_decode_graph(self.embedding, opset=opset, dtype=dtype, planes=bool(heads))
        taken = _names(model.graph)
        stored = []
        for name, array in decoder.tensors.items():
            tensor = ir.tensor(array, name=_free(f"{self.table}.{name}", taken))
            value = ir.val(tensor.name, const_value=tensor)
            model.graph.register_initializer(value)
            stored.append(value)
        for gather in use.gathers:
            name = _free(f"{gather.name or 'embedding'}_packed", taken)
            ids = gather.inputs[1]
            assert ids is not None
            nodes = [decoder.node(ids, stored, name)]
            _replace(gather, _cast(nodes, wanted, taken))
        if heads:
            layer = build_head_graph(self.embedding, opset=opset, dtype=dtype)
            for head in heads:
                name = _free(f"{head.node.name or 'head'}_packed", taken)
                nodes = _to(head.hidden, dtype, wanted, taken)
                hidden = nodes[-1].outputs[0] if nodes else head.hidden
                nodes = _cast([*nodes, layer.node(hidden, stored, name)], wanted, taken)
                _replace(head.node, _with_bias(nodes, head, taken))
                _drop(model.graph, head.weight, keep=use.value)
            model.functions[layer.function.identifier()] = layer.function
        model.functions[decoder.function.identifier()] = decoder.function
        model.opset_imports[DOMAIN] = VERSION
        model.ir_version = max(model.ir_version, _FUNCTIONS_IR_VERSION)
        if not use.value.uses():
            del model.graph.initializers[self.table]
            if use.value in model.graph.inputs:  # one that callers may override
                model.graph.inputs.remove(use.value)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No Gather reads the dense table by ids any more."""
        if self._use(model) is not None:
            raise ir.passes.PostconditionError(f"a Gather still reads {self.table!r}")

    def _use(self, model: ir.Model) -> TableUse | None:
        tables = {table.name: table for table in find_tables(model.graph)}
        return tables.get(self.table)


def _replace(old: ir.Node, new: list[ir.Node]) -> None:
    graph = old.graph  # the main one, or a branch of it
    assert graph is not None
    before, after = old.outputs[0], new[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, old, [old], new, [before], [after])


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


def _drop(graph: ir.Graph, weight: ir.Value, keep: ir.Value) -> None:
    """Remove what made a head's weight, once no one reads it: a Transpose, or a copy."""
    if weight.uses() or weight is keep:
        return
    maker = weight.producer()
    if maker is not None:
        assert maker.graph is not None
        maker.graph.remove(maker, safe=True)
    elif weight.name is not None and weight.name in graph.initializers:
        del graph.initializers[weight.name]


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


def inline_decoder(model: ir.Model) -> None:
    """Dissolve the function into the graph, for tools that know no functions; in place."""
    common_passes.InlinePass(criteria=lambda function: function.domain == DOMAIN)(model)
    common_passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    model.opset_imports.pop(DOMAIN, None)
    # Two parts of the body may share a constant; inlining also leaves generated names behind.
    common_passes.NameFixPass()(model)


def check_opset(model: ir.Model) -> None:
    """Raise InputError where the model's opset is too old for the decode graph."""
    opset = model.opset_imports.get("", 0)
    if opset < MIN_OPSET:
        raise InputError(
            f"the model has opset {opset}, the packed layer needs {MIN_OPSET} or newer; export it "
            "again, or convert it with onnx.version_converter"
        )
