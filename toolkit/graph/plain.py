"""Every look-up written as a Gather along the first axis of a stored matrix.

Tools write a look-up in many ways. Each of the forms below is replaced by one that
:mod:`.tables` knows, with the same values; the model's file stays as it is.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from .contract import DOMAIN, WEIGHTS_DOMAIN
from .forms import FLOATS, MICROSOFT, constant, dequantizes, is_op, shape_of, stored, turns, type_of
from .ids import INTEGERS
from .load import load_graph
from .plain_nodes import ends_in_one, is_matrix, squeezed, turned
from .plain_products import einsum_head, one_hot, table_first
from .rows import IDS_AT_ONCE, looked_up, stored_matrix
from .store import store_computed, store_number, store_numbers

_OWN = (DOMAIN, WEIGHTS_DOMAIN)  # of functions that stay one node
_LAYER_NORM = 17  # the opset that has LayerNormalization
_BY_ROW = ("Cast", "Sub", "Mul", "Div", "Add")  # what makes floats of integers, number by number


def load_plain(path: Path) -> ir.Model:
    """:func:`.load.load_graph` and :func:`make_plain`.

    Raises:
        InputError: no ONNX model, or its external data is missing.
    """
    model = load_graph(path)
    make_plain(model)
    return model


def make_plain(model: ir.Model) -> int:
    """Rewrite look-ups of ``model`` in memory; returns how many there were."""
    graph, count = model.graph, 0
    if any(function.domain not in _OWN for function in model.functions.values()):
        common_passes.InlinePass(criteria=lambda function: function.domain not in _OWN)(model)
        count += 1
    for rule in _RULES:
        for node in list(graph.all_nodes()):
            new = rule(graph, node)
            if new is not None:
                old = list(node.outputs[: len(new[-1].outputs)])
                _put(node, new, old)
                count += 1
    if count:
        common_passes.RemoveUnusedNodesPass()(model)
    return count


def _gather_nd(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """GatherND by indices [.., 1]."""
    if not is_op(node, "GatherND") or node.attributes.get_int("batch_dims", 0) != 0:
        return None
    return _rows_by(graph, node, node.inputs[1])


def _gather_elements(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """GatherElements of whole rows: ids [n, 1] that were spread over the columns."""
    if not is_op(node, "GatherElements") or node.attributes.get_int("axis", 0) not in (0, -2):
        return None
    spread = None if node.inputs[1] is None else node.inputs[1].producer()
    if spread is None or not is_op(spread, "Expand"):
        return None
    return _rows_by(graph, node, spread.inputs[0])


def _rows_by(graph: ir.Graph, node: ir.Node, ids: ir.Value | None) -> list[ir.Node] | None:
    """A Gather from the matrix that ``node`` reads, by ids [.., 1]."""
    if not is_matrix(node.inputs[0]) or not ends_in_one(ids):
        return None
    flat = squeezed(graph, ids)
    return [flat, ir.node("Gather", [node.inputs[0], flat.outputs[0]])]


def _columns(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """Gather of columns of a transposed table [d, V]."""
    if not is_op(node, "Gather") or node.attributes.get_int("axis", 0) not in (1, -1):
        return None
    ids = node.inputs[1]
    if not is_matrix(node.inputs[0]) or ids is None or ids.shape is None or constant(ids):
        return None
    whole, rank = turned(node.inputs[0]), len(ids.shape)
    rows = ir.node("Gather", [whole.outputs[0], ids])
    rows.outputs[0].type = whole.outputs[0].type
    back = ir.node("Transpose", [rows.outputs[0]], {"perm": [rank, *range(rank)]})
    return [whole, rows, back] if rank else None


def _extracted(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """ONNX-ML's ArrayFeatureExtractor, which picks columns of a transposed table [d, V]."""
    if node.op_type != "ArrayFeatureExtractor" or node.domain != "ai.onnx.ml":
        return None
    if not is_matrix(node.inputs[0]) or constant(node.inputs[1]) is not None:
        return None
    whole = turned(node.inputs[0])
    flat = ir.node("Reshape", [node.inputs[1], store_numbers(graph, -1)])
    flat.outputs[0].dtype, flat.outputs[0].shape = ir.DataType.INT64, ir.Shape([None])
    rows = ir.node("Gather", [whole.outputs[0], flat.outputs[0]])
    rows.outputs[0].type = whole.outputs[0].type
    return [whole, flat, rows, ir.node("Transpose", [rows.outputs[0]], {"perm": [1, 0]})]


def _embed_layer_norm(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """onnxruntime's EmbedLayerNormalization: words, positions, types, and their norm."""
    if node.op_type != "EmbedLayerNormalization" or node.domain != MICROSOFT:
        return None
    if graph.opset_imports.get("", 0) < _LAYER_NORM or any(
        output.uses() or output.is_graph_output() for output in node.outputs[1:]
    ):
        return None
    given = [*node.inputs, *[None] * (9 - len(node.inputs))]
    ids, types, words, places, of_types, gamma, beta, _, positions = given[:9]
    nodes: list[ir.Node] = []

    def op(name: str, *inputs: ir.Value | None, **settings: int | float) -> ir.Value:
        nodes.append(ir.node(name, list(inputs), settings))
        return nodes[-1].outputs[0]

    if positions is None:
        length = op("Shape", ids, start=1, end=2)
        zero, one = (store_number(graph, value) for value in (0, 1))
        axis = store_numbers(graph, 0)
        positions = op("Range", zero, op("Squeeze", length, axis), one)
    rows = op("Gather", words, ids)
    rows.type = ir.TensorType(type_of(words) or ir.DataType.FLOAT)
    total = op("Add", rows, op("Gather", places, positions))
    if types is not None and of_types is not None:
        total = op("Add", total, op("Gather", of_types, types))
    epsilon = node.attributes.get_float("epsilon", 1e-12)
    op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
    return nodes


def _computed_table(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """A Gather from what is computed of constants alone: scaled, joined, dequantised by hand."""
    if not is_op(node, "Gather") or node.attributes.get_int("axis", 0) not in (0, -2):
        return None
    table = node.inputs[0]
    if table is None or stored(table) is not None or not _is_fixed(table):
        return None
    if (maker := table.producer()) is not None and turns(maker) and constant(maker.inputs[0]):
        return None  # stored transposed is known
    values = stored_matrix(graph, table)
    kind = type_of(table) or ir.DataType.FLOAT
    if values.ndim != 2 or kind not in FLOATS:
        return None
    held = store_computed(
        graph, f"{table.name}.computed", values.astype(kind.numpy()), _makers(table)
    )
    return [ir.node("Gather", [held, node.inputs[1]])]


def _scaled_rows(graph: ir.Graph, node: ir.Node) -> list[ir.Node] | None:
    """Integer rows that are multiplied with a scale of their own, gathered by the same ids."""
    made = is_op(node, "Mul", "Add", "Sub", "Div") or _by_gathered_scales(node)
    if not made or type_of(node.outputs[0]) not in FLOATS:
        return None
    gathers = _gathers_above(node.outputs[0])
    if gathers is None or len(gathers) < 2:
        return None
    shapes = [shape_of(each.inputs[0]) for each in gathers]
    wide = max(shapes, key=len)
    integers = [each for each in gathers if type_of(each.inputs[0]) not in FLOATS]
    if len(wide) != 2 or not integers or any(shape[0] != wide[0] for shape in shapes):
        return None
    if any(_gathers_above(user.outputs[0]) for user, _ in node.outputs[0].uses() if user.outputs):
        return None  # not the last of them
    ids = gathers[0].inputs[1]
    assert ids is not None
    width = max(shape[1] for shape in shapes if len(shape) > 1)
    table = np.empty((wide[0], width), np.float32)
    for start, rows in looked_up(graph, ids, node.outputs[0], wide[0]):
        table[start : start + IDS_AT_ONCE] = rows
    kind = type_of(node.outputs[0]) or ir.DataType.FLOAT
    name = f"{gathers[0].inputs[0].name if gathers[0].inputs[0] else node.name}.scaled"
    held = store_computed(graph, name, table.astype(kind.numpy()), _makers(node.outputs[0]))
    return [ir.node("Gather", [held, ids])]


_Rule = Callable[[ir.Graph, ir.Node], "list[ir.Node] | None"]
_RULES: tuple[_Rule, ...] = (
    _gather_nd,
    _gather_elements,
    _columns,
    _extracted,
    einsum_head,
    table_first,
    one_hot,
    _embed_layer_norm,
    _computed_table,
    _scaled_rows,
)


def _gathers_above(value: ir.Value | None) -> list[ir.Node] | None:
    """The Gathers, all by the same ids, that ``value`` is computed of number by number."""
    found: list[ir.Node] = []
    left = [value]
    while left:
        here = left.pop()
        if here is None or constant(here) is not None:
            continue
        node = here.producer()
        if node is not None and is_op(node, "Gather") and _has_rows(node.inputs[0]):
            found.append(node)
        elif node is not None and (is_op(node, *_BY_ROW) or _by_gathered_scales(node)):
            left += node.inputs
        elif node is not None and is_op(node, "Unsqueeze") and ends_in_one(node.outputs[0]):
            left.append(node.inputs[0])
        else:
            return None
    ids = {node.inputs[1] for node in found}
    return found if len(ids) == 1 and not any(map(constant, ids)) else None


def _has_rows(value: ir.Value | None) -> bool:
    """Whether it is a stored matrix, or has a number for each row of one."""
    return is_matrix(value) or (len(shape_of(value)) == 1 and type_of(value) not in INTEGERS)


def _by_gathered_scales(node: ir.Node) -> bool:
    """Whether it dequantises by scales that are no constants, whatever the rank of its input."""
    axis = node.attributes.get_int("axis", 1)
    fixed = node.inputs[1] if len(node.inputs) > 1 else None
    return (
        dequantizes(node) and fixed is not None and constant(fixed) is None and axis in (-1, 0, 1)
    )


def _makers(value: ir.Value | None) -> list[ir.Node]:
    """The nodes that ``value`` is made by, from it up to stored tensors and ids."""
    found: list[ir.Node] = []
    left = [value]
    while left:
        here = left.pop(0)
        node = None if here is None or constant(here) is not None else here.producer()
        if node is not None and node not in found:
            found.append(node)
            left += node.inputs[:1] if is_op(node, "Gather") else node.inputs
    return found


def _is_fixed(value: ir.Value | None) -> bool:
    """Whether it is computed of constants alone."""
    if value is None or constant(value) is not None:
        return True
    node = value.producer()
    return node is not None and all(map(_is_fixed, node.inputs)) and not _draws(node)


def _draws(node: ir.Node) -> bool:
    return node.op_type.startswith("Random") or any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    )


def _put(node: ir.Node, new: list[ir.Node], old: list[ir.Value]) -> None:
    made = list(new[-1].outputs[: len(old)])
    for before, after in zip(old, made, strict=True):
        after.type, after.shape = before.type, before.shape
    base = node.outputs[0].name
    for number, each in enumerate(new):
        each.name = f"{base}.plain.{number}"
        if each is not new[-1]:
            each.outputs[0].name = each.name
    owner = node.graph
    assert owner is not None
    ir.convenience.replace_nodes_and_values(owner, node, [node], new, old, made)
