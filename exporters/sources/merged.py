"""A decoder's two graphs, for the first tokens and for all further ones, as one with an If.

Both read the same weights, which the file holds once: beside the If, where its branches see them.
Inputs and outputs are those of optimum's merged decoders, so that whatever opens these opens it.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

USE_CACHE = "use_cache_branch"
"""The input, bool [1], that says which of the two runs."""

_FEW = 16  # numbers: shapes, axes, factors, which onnxruntime reads where they are used
_Content = tuple[ir.DataType, tuple[object, ...], bytes]  # type, shape, a digest of the bytes


def merge(first: ir.Model, further: ir.Model) -> ir.Model:
    """One graph that runs ``further`` where ``use_cache_branch`` is true, else ``first``.

    Args:
        first: gives every output.
        further: reads a cache, has all inputs of ``first`` under the same names, and gives some of
            its outputs. In the place of the others, float [batch, heads, length, d], its branch
            gives a tensor [0, heads, 1, d]: who runs the graph keeps what the first tokens gave.

    Both are taken apart: their nodes move into the result.

    Returns:
        A model with the inputs of ``further`` and ``use_cache_branch``, bool [1].
    """
    inputs = [_like(value) for value in further.graph.inputs]
    outputs = [_like(value) for value in first.graph.outputs]
    weights: dict[_Content, ir.Value] = {}
    branches = []
    for model, prefix in ((further, "further"), (first, "first")):
        common_passes.InlinePass()(model)
        _share(model.graph, weights)
        branches.append(_branch(model.graph, prefix, inputs, outputs))
    asked = ir.Value(name=USE_CACHE, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.BOOL))
    names = ("then_branch", "else_branch")
    either = ir.Node(
        "",
        "If",
        [asked],
        [ir.AttrGraph(name, branch) for name, branch in zip(names, branches, strict=True)],
        outputs=outputs,
        name=USE_CACHE.removesuffix("_branch"),
    )
    graph = ir.Graph(
        [*inputs, asked],
        outputs,
        nodes=[either],
        initializers=_with_own_names(weights.values()),
        opset_imports=first.opset_imports | further.opset_imports,
        name="decoder",
    )
    return ir.Model(graph, ir_version=max(first.ir_version, further.ir_version))


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)


def _share(graph: ir.Graph, weights: dict[_Content, ir.Value]) -> None:
    """Let what reads a large initializer read the one of ``weights`` with its content."""
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        assert tensor is not None
        if tensor.size <= _FEW:
            continue
        content = (tensor.dtype, tuple(tensor.shape), hashlib.sha256(tensor.tobytes()).digest())
        if content not in weights:
            weights[content] = ir.Value(
                name=name, shape=value.shape, type=value.type, const_value=tensor
            )
        ir.convenience.replace_all_uses_with(value, weights[content])
        del graph.initializers[name]


def _branch(
    graph: ir.Graph, prefix: str, inputs: list[ir.Value], outputs: list[ir.Value]
) -> ir.Graph:
    """The nodes of ``graph`` as a branch, which reads ``inputs`` and gives ``outputs`` by name."""
    seen = {value.name: value for value in inputs}
    for value in graph.inputs:
        ir.convenience.replace_all_uses_with(value, seen[value.name])
    given = {value.name: value for value in graph.outputs}
    nodes, few = list(graph), list(graph.initializers.values())
    graph.outputs.clear()
    graph.initializers.clear()
    graph.remove(nodes)
    nodes = [*(_constant(value) for value in few), *nodes]
    for value in outputs:
        if value.name not in given:
            nodes.append(_nothing(value))
            given[value.name] = nodes[-1].outputs[0]
    branch = ir.Graph([], [given[value.name] for value in outputs], nodes=nodes, name=prefix)
    for node in branch.all_nodes():
        node.name = f"{prefix}.{node.name}"  # no name twice, in both branches and around them
        for value in node.outputs:
            value.name = f"{prefix}.{value.name}"
    return branch


def _constant(value: ir.Value) -> ir.Node:
    """A node in the place of an initializer: where nobody reads it any more, it goes."""
    assert value.const_value is not None
    node = ir.Node("", "Constant", [], [ir.AttrTensor("value", value.const_value)])
    made = node.outputs[0]
    made.name, made.shape, made.type = value.name, value.shape, value.type
    ir.convenience.replace_all_uses_with(value, made)
    return node


def _nothing(value: ir.Value) -> ir.Node:
    """A node that gives keys or values of no text; optimum's shape, which runtimes expect."""
    assert value.shape is not None
    _, heads, _, width = value.shape
    assert isinstance(heads, int)
    assert isinstance(width, int)
    shape = (0, heads, 1, width)
    empty = ir.tensor(np.zeros(shape, np.float32))
    node = ir.Node("", "Constant", [], [ir.AttrTensor("value", empty)])
    made = node.outputs[0]
    made.name, made.shape, made.type = value.name, ir.Shape(shape), value.type
    return node


def _with_own_names(values: Iterable[ir.Value]) -> list[ir.Value]:
    """Values of one graph, from two in which other ones may have had the same name."""
    found: dict[str, ir.Value] = {}
    for value in values:
        name = plain = str(value.name)
        while name in found:
            name = f"{plain}_{len(found)}"
        value.name = name
        found[name] = value
    return list(found.values())
