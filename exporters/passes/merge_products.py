"""Products of few bits that read the same values become one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
from numpy.typing import NDArray

from toolkit.graph.forms import constant, is_op

from .base import Pass, store

_SPLIT_AS_INPUT = 13  # the opset since when sizes of Split are an input
_PACKED, _SCALES, _BIAS = 1, 2, 5  # places among MatMulNBits' inputs
_EQUAL = ("K", "bits", "block_size", "accuracy_level")


class MergeProducts(Pass):
    """Join MatMulNBits nodes that multiply the same input, and split what they give.

    Queries, keys and values are such, and the two products of a gated layer. Each number keeps its
    code and its scale, so values stay as they are; onnxruntime rounds the input once, and shares
    the work out between threads once.

    Attributes:
        count: nodes that were joined to others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        if model.opset_imports.get("", _SPLIT_AS_INPUT) < _SPLIT_AS_INPUT:
            return ir.passes.PassResult(model, modified=False)
        groups: dict[tuple[object, ...], list[ir.Node]] = {}
        for node in model.graph:
            if node.op_type == "MatMulNBits" and (key := _key(node)) is not None:
                groups.setdefault(key, []).append(node)
        found = [group for group in groups.values() if len(group) > 1]
        for group in found:
            _merge(model.graph, group)
        if found:
            common_passes.RemoveUnusedNodesPass()(model)
        self.count = sum(map(len, found))
        return ir.passes.PassResult(model, modified=bool(found))


def _key(node: ir.Node) -> tuple[object, ...] | None:
    """What products must have in common; None for one that is not joined."""
    packed, scales = (_stored(value) for value in node.inputs[_PACKED : _SCALES + 1])
    bias = _bias(node)
    others = [value for value in node.inputs[_SCALES + 1 : _BIAS] if value is not None]
    if packed is None or scales is None or others or (bias is not None and _stored(bias) is None):
        return None
    settings = tuple(node.attributes.get_int(name, 0) for name in _EQUAL)
    return node.inputs[0], settings, scales.dtype, bias is None


def _merge(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    first = nodes[0]
    weight = first.inputs[_PACKED]
    assert weight is not None
    name = f"{weight.name}.joined"
    packed = store(graph, f"{name}.packed", np.concatenate(_arrays(nodes, _PACKED)))
    exact = np.concatenate([array.reshape(-1) for array in _arrays(nodes, _SCALES)])
    scales = store(graph, f"{name}.scales", exact)
    new: list[ir.Node] = []
    if exact.dtype != np.float32:
        new.append(ir.node("Cast", [scales], {"to": ir.DataType.FLOAT}, name=f"{name}.cast"))
        scales = new[-1].outputs[0]
        scales.type = ir.TensorType(ir.DataType.FLOAT)
    inputs: list[ir.Value | None] = [first.inputs[0], packed, scales]
    if _bias(first) is not None:
        bias = store(graph, f"{name}.bias", np.concatenate(_arrays(nodes, _BIAS)))
        inputs += [None, None, bias]
    sizes = [node.attributes.get_int("N", 0) for node in nodes]
    settings = {name: node.value for name, node in first.attributes.items()}
    product = ir.node(
        first.op_type,
        inputs,
        settings | {"N": sum(sizes)},
        domain=first.domain,
        name=f"{first.name}_joined",
    )
    product.outputs[0].type = first.outputs[0].type
    lengths = store(graph, f"{name}.sizes", np.array(sizes, np.int64))
    split = ir.node(
        "Split",
        [product.outputs[0], lengths],
        {"axis": -1},
        name=f"{first.name}_split",
        num_outputs=len(nodes),
    )
    old = [node.outputs[0] for node in nodes]
    for before, after in zip(old, split.outputs, strict=True):
        after.type, after.shape = before.type, before.shape
    new += [product, split]
    ir.convenience.replace_nodes_and_values(graph, first, nodes, new, old, split.outputs)


def _arrays(nodes: Sequence[ir.Node], place: int) -> list[NDArray[Any]]:
    tensors = [_stored(node.inputs[place]) for node in nodes]
    return [tensor.numpy() for tensor in tensors if tensor is not None]


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[_BIAS] if len(node.inputs) > _BIAS else None


def _stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor that a value is, or that it is a Cast of."""
    maker = None if value is None else value.producer()
    return constant(maker.inputs[0] if maker is not None and is_op(maker, "Cast") else value)
