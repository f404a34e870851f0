"""Products of few bits that read the same values become one."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from toolkit.graph.forms import constant, is_op
from toolkit.graph.store import store_numbers, store_once

from .base import JoiningPass

_SPLIT_AS_INPUT = 13  # the opset since when sizes of Split are an input
_PACKED, _SCALES, _BIAS = 1, 2, 5  # places among MatMulNBits' inputs
_EQUAL = ("K", "bits", "block_size", "accuracy_level")


class MergeProducts(JoiningPass):
    """Join MatMulNBits nodes that multiply the same input, and split what they give.

    Queries, keys and values are such, and the two products of a gated layer. Each number keeps its
    code and its scale, so values stay as they are; onnxruntime rounds the input once, and shares
    the work out between threads once. Matrices that several layers share, as ALBERT's do, are
    joined where all of them join the same ones: the file never grows.
    """

    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place."""
        if model.opset_imports.get("", _SPLIT_AS_INPUT) < _SPLIT_AS_INPUT:
            return 0
        groups: dict[tuple[object, ...], list[ir.Node]] = {}
        for node in model.graph:
            if node.op_type == "MatMulNBits" and (key := _key(node)) is not None:
                groups.setdefault(key, []).append(node)
        found = [group for group in groups.values() if len(group) > 1]
        parts = {node: _matrices(group) for group in found for node in group}
        found = [group for group in found if _are_only_read_so(_matrices(group), parts)]
        for group in found:
            _merge(model.graph, group)
        return sum(map(len, found))


def _key(node: ir.Node) -> tuple[object, ...] | None:
    """What products must have in common; None for one that is not joined."""
    packed, scales = (_stored(value) for value in node.inputs[_PACKED : _SCALES + 1])
    bias = _bias(node)
    others = [value for value in node.inputs[_SCALES + 1 : _BIAS] if value is not None]
    if packed is None or scales is None or others or (bias is not None and _stored(bias) is None):
        return None
    settings = tuple(node.attributes.get_int(name, 0) for name in _EQUAL)
    return node.inputs[0], settings, scales.dtype, bias is None


def _matrices(group: Sequence[ir.Node]) -> tuple[ir.Value | None, ...]:
    return tuple(node.inputs[_PACKED] for node in group)


def _are_only_read_so(
    matrices: tuple[ir.Value | None, ...],
    parts: Mapping[ir.Node, tuple[ir.Value | None, ...]],
) -> bool:
    """Whether every product with one of ``matrices`` is joined to the others in this order."""
    return all(
        parts.get(user) == matrices
        for value in matrices
        if value is not None
        for user in value.consumers()
    )


def _merge(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    first = nodes[0]
    packed = _joined(graph, nodes, _PACKED)
    scales = _joined(graph, nodes, _SCALES)
    new: list[ir.Node] = []
    if scales.dtype != ir.DataType.FLOAT:
        cast = ir.node("Cast", [scales], {"to": ir.DataType.FLOAT}, name=f"{first.name}_scales")
        new.append(cast)
        scales = cast.outputs[0]
        scales.type = ir.TensorType(ir.DataType.FLOAT)
    inputs: list[ir.Value | None] = [first.inputs[0], packed, scales]
    if _bias(first) is not None:
        inputs += [None, None, _joined(graph, nodes, _BIAS)]
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
    lengths = store_numbers(graph, *sizes)
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


def _joined(graph: ir.Graph, nodes: Sequence[ir.Node], place: int) -> ir.Value:
    """An input of all ``nodes`` as one, the same one wherever the same parts are joined."""
    values = [_source(node.inputs[place]) for node in nodes]
    tensors = [tensor for value in values if (tensor := constant(value)) is not None]
    arrays = [tensor.numpy() for tensor in tensors]
    if place != _PACKED:  # of scales, tools write [n, groups] or [n * groups]
        arrays = [array.reshape(-1) for array in arrays]
    name = "+".join(str(value.name) for value in values if value is not None)
    return store_once(graph, name, np.concatenate(arrays))


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[_BIAS] if len(node.inputs) > _BIAS else None


def _stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor that a value is, or that it is a Cast of."""
    return constant(_source(value))


def _source(value: ir.Value | None) -> ir.Value | None:
    maker = None if value is None else value.producer()
    return maker.inputs[0] if maker is not None and is_op(maker, "Cast") else value
