"""The rewrite: a table's Gathers become ``ai.lighttoken::CompressedEmbedding`` nodes."""

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit import CompressedEmbedding
from toolkit.errors import InputError

from .decode import build_decode_graph
from .find import TableUse, find_tables
from .layer import DOMAIN, MIN_OPSET, VERSION

_FUNCTIONS_IR_VERSION = 8  # the first in which a model may hold functions


class CompressTable(ir.passes.InPlacePass):
    """Replace every Gather from one table by a node that decodes the packed rows.

    The packed tensors become initializers named after the table, and the decode graph a function
    of the model, so that any onnxruntime runs the file. Where something else reads the table too
    (an output head), the dense table stays for it; ``TableUse.others`` says so beforehand.

    Args:
        table: name of the initializer to replace.
        embedding: its compressed form, of the same shape.
    """

    def __init__(self, table: str, embedding: CompressedEmbedding) -> None:
        super().__init__()
        self.table = table
        self.embedding = embedding

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
        decoder = build_decode_graph(
            self.embedding, opset=model.opset_imports[""], dtype=use.value.dtype
        )
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
            _replace(gather, decoder.node(ids, stored, name))
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


def _replace(gather: ir.Node, node: ir.Node) -> None:
    old, new = gather.outputs[0], node.outputs[0]
    graph = gather.graph  # the main one, or a branch of it
    assert graph is not None
    ir.convenience.replace_nodes_and_values(graph, gather, [gather], [node], [old], [new])


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
