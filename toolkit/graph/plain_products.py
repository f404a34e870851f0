"""Products with a table that are written in other ways than states by its transpose.

One-hot vectors by a table are a look-up; an Einsum, or the table by states, is an output head.
"""

import re

import numpy as np
import onnx_ir as ir

from .forms import constant, is_op, is_plain_gemm, shape_of
from .plain_nodes import ends_in_one, is_looked_up, is_matrix, squeezed, turned


def one_hot(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """A product of one-hot vectors with the table: MatMul, Gemm or Einsum."""
    if len(node.inputs) < 2 or not is_matrix(node.inputs[1]):
        return None
    plain = is_plain_gemm(node) and not node.attributes.get_int("transB", 0)
    alike = is_op(node, "MatMul") or (plain and not any(node.inputs[2:]))
    if not (alike or _einsum(node) == "rows"):
        return None
    ids = _hot_ids(node.inputs[0], shape_of(node.inputs[1])[0])
    if ids is None:
        return None
    if not _is_column(ids, node.inputs[0]):
        return [ir.node("Gather", [node.inputs[1], ids])]
    flat = squeezed(graph, ids)
    return [flat, ir.node("Gather", [node.inputs[1], flat.outputs[0]])]


def _hot_ids(hot: ir.Value | None, rows: int) -> ir.Value | None:
    """Ids of which ``hot`` [.., rows] are one-hot vectors; of a comparison they are [.., 1]."""
    node = None if hot is None else hot.producer()
    while node is not None and is_op(node, "Cast") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None:
        return None
    if is_op(node, "OneHot") and node.attributes.get_int("axis", -1) == -1:
        depth, values = (constant(value) for value in node.inputs[1:3])
        counts = depth is not None and int(depth.numpy().reshape(-1)[0]) == rows
        return node.inputs[0] if counts and _is(values, [0, 1]) else None
    if is_op(node, "Equal"):
        for ids, every in (node.inputs, node.inputs[::-1]):
            if _is(constant(every), list(range(rows))) and ends_in_one(ids):
                return ids
    return None


def _is_column(ids: ir.Value, hot: ir.Value | None) -> bool:
    """Whether ``ids`` have a last dimension of 1 that the vectors were spread along."""
    node = None if hot is None else hot.producer()
    while node is not None and is_op(node, "Cast") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and is_op(node, "Equal") and ids in node.inputs


def _is(tensor: ir.TensorProtocol | None, numbers: list[int]) -> bool:
    return tensor is not None and np.array_equal(tensor.numpy().ravel(), numbers)


def einsum_head(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """An Einsum of states with a table that ids look up too."""
    if _einsum(node) != "head" or not is_looked_up(node.inputs[1]):
        return None
    whole = turned(node.inputs[1])
    return [whole, ir.node("MatMul", [node.inputs[0], whole.outputs[0]])]


def _einsum(node: ir.Node) -> str:
    """``rows`` where it is a product with a matrix, ``head`` with its transpose, else ""."""
    if not is_op(node, "Einsum") or len(node.inputs) != 2:
        return ""
    equation = re.sub(r"\s", "", node.attributes.get_string("equation", ""))
    found = re.fullmatch(r"((?:\.\.\.)?\w*)(\w),(\w)(\w)->((?:\.\.\.)?\w*)(\w)", equation)
    if found is None:
        return ""
    before, summed, first, second, after, made = found.groups()
    letters = [*before.replace("...", ""), summed]
    if before != after or made in letters or len(set(letters)) != len(letters):
        return ""
    return {(summed, made): "rows", (made, summed): "head"}.get((first, second), "")


def table_first(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """A table that ids look up too, by states [.., d, n]: logits that stand as columns."""
    if not is_op(node, "MatMul") or not is_looked_up(node.inputs[0]):
        return None
    states = node.inputs[1]
    rank = 0 if states is None or constant(states) is not None else _rank(states)
    if states is None or rank < 2:
        return None
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    up = ir.node("Transpose", [states], {"perm": swapped})
    up.outputs[0].type = states.type
    whole = turned(node.inputs[0])
    logits = ir.node("MatMul", [up.outputs[0], whole.outputs[0]])
    logits.outputs[0].type = states.type
    return [up, whole, logits, ir.node("Transpose", [logits.outputs[0]], {"perm": swapped})]


def _rank(value: ir.Value) -> int:
    """Dimensions, 0 where the graph does not tell."""
    if value.shape is not None:
        return len(value.shape)
    node = value.producer()
    perm = None if node is None or not is_op(node, "Transpose") else node.attributes.get("perm")
    return 0 if perm is None else len(perm.as_ints())
