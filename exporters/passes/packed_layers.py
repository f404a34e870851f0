"""How packed layers get into a graph: tensors, names, casts, and what nobody reads any more."""

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.errors import InputError
from toolkit.graph.contract import DOMAIN, MIN_OPSET, VERSION, free_name
from toolkit.graph.products import Head
from toolkit.graph.store import store

from ..ops.layer import PackedLayer
from .base import put_in_place

_FUNCTIONS_IR_VERSION = 8  # the first in which a model may hold functions


def add_tensors(model: ir.Model, layer: PackedLayer, table: str, taken: set[str]) -> list[ir.Value]:
    """The tensors of a layer as initializers that are named after the table."""
    return [
        store(model.graph, free(f"{table}.{name}", taken), array)
        for name, array in layer.tensors.items()
    ]


def add_functions(model: ir.Model, layers: Sequence[PackedLayer]) -> None:
    """The decode graphs of layers as functions, so that any onnxruntime runs the file."""
    for layer in layers:
        model.functions[layer.function.identifier()] = layer.function
    model.opset_imports[DOMAIN] = VERSION
    model.ir_version = max(model.ir_version, _FUNCTIONS_IR_VERSION)


def function_name(model: ir.Model, name: str) -> str:
    """``name``, with a number where the model has such a function already."""
    taken = {function.name for function in model.functions.values() if function.domain == DOMAIN}
    return free_name(name, taken)


def put_head(layer: PackedLayer, stored: list[ir.Value], head: Head, taken: set[str]) -> None:
    """Let ``layer``, a CompressedHead of the tensors ``stored``, give what ``head`` gave."""
    name = free(f"{head.node.name or 'head'}_packed", taken)
    nodes = cast_to(head.hidden, _type(layer), head.dtype, taken)
    hidden = nodes[-1].outputs[0] if nodes else head.hidden
    nodes = cast_last([*nodes, layer.node(hidden, stored, name)], head.dtype, taken)
    replace(head.node.outputs[0], with_bias(nodes, head, taken))


def replace(old: ir.Value, new: list[ir.Node]) -> None:
    """Let the last of ``new`` make ``old``, and remove what nobody needs any more."""
    maker = old.producer()
    assert maker is not None
    inputs = set(maker.inputs)
    put_in_place(old, new)
    for value in inputs:
        _drop(value)


def cast_last(nodes: list[ir.Node], dtype: ir.DataType, taken: set[str]) -> list[ir.Node]:
    """``nodes``, and a Cast of the last one's output to ``dtype`` unless it is that."""
    output = nodes[-1].outputs[0]
    assert output.dtype is not None
    if output.dtype != dtype:
        output.name = free(f"{nodes[-1].name}_output", taken)
    return [*nodes, *cast_to(output, dtype, output.dtype, taken)]


def names_of(graph: ir.Graph) -> set[str]:
    """Names of every node and value, those in branches included."""
    names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph.all_nodes():
        names |= {node.name, *(value.name for value in (*node.inputs, *node.outputs) if value)}
    return {name for name in names if name}


def free(name: str, taken: set[str]) -> str:
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


def _type(layer: PackedLayer) -> ir.DataType:
    return ir.DataType(int(layer.attributes["to"]))


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


def cast_to(
    value: ir.Value, dtype: ir.DataType, now: ir.DataType, taken: set[str]
) -> list[ir.Node]:
    """A Cast of ``value`` to ``dtype``, unless it is that ``now``."""
    if dtype == now:
        return []
    node = ir.node("Cast", [value], attributes={"to": int(dtype)}, name=free("packed_cast", taken))
    node.outputs[0].dtype = dtype
    node.outputs[0].name = free(f"{node.name}_output", taken)
    return [node]


def with_bias(nodes: list[ir.Node], head: Head, taken: set[str]) -> list[ir.Node]:
    """``nodes``, and an Add of the head's bias if it has one."""
    if head.bias is None:
        return nodes
    product = nodes[-1].outputs[0]
    product.name = free(f"{nodes[-1].name}_without_bias", taken)
    return [*nodes, ir.node("Add", [product, head.bias], name=free("head_bias", taken))]
