"""Rotary positions as one node of onnxruntime's."""

from dataclasses import dataclass

import onnx_ir as ir

from toolkit.graph.forms import MICROSOFT, is_op
from toolkit.graph.store import store_number, store_numbers

from .base import JoiningPass, put_in_place
from .scalars import number

_NAME = "lighttoken.rotary"


class FuseRotary(JoiningPass):
    """Replace ``x * cos + turned(x) * sin`` by onnxruntime's RotaryEmbedding.

    Rotary positions (Su et al. 2021, RoFormer, section 3.2) in the form that halves heads: seven
    nodes become one. That node looks cosines and sines up by position. Here they are computed for
    the tokens at hand, so each token's "position" is its place in the batch: what the model does to
    angles, such as scaling them, stays as it is.
    """

    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place."""
        found = [
            rotation
            for node in model.graph
            if is_op(node, "Add") and (rotation := _rotation(node)) is not None
        ]
        tables = _Tables(model.graph)
        for each in found:
            nodes, cosines, sines, places = tables.of(each)
            node = ir.node(
                "RotaryEmbedding",
                [each.heads, places, cosines, sines],
                domain=MICROSOFT,
                name=f"{each.output.name}_rotary",
            )
            output = node.outputs[0]
            output.type, output.shape = each.output.type, each.output.shape
            put_in_place(each.output, [*nodes, node])
        if found:
            model.opset_imports.setdefault(MICROSOFT, 1)
        return len(found)


@dataclass(frozen=True, eq=False)
class _Rotation:
    """Attributes:
    output: [batch, heads, length, size].
    heads: what is rotated, of the same shape.
    cosines: [batch or 1, length, size], both halves alike.
    sines: of the same shape.
    """

    output: ir.Value
    heads: ir.Value
    cosines: ir.Value
    sines: ir.Value


def _rotation(add: ir.Node) -> _Rotation | None:
    for at in (0, 1):
        straight, turned = _product(add.inputs[at]), _product(add.inputs[1 - at])
        if straight is None or turned is None:
            continue
        for heads, cosines in (straight, straight[::-1]):
            for rotated, sines in (turned, turned[::-1]):
                if not _is_turned(rotated, heads):
                    continue
                found = _of_angles(cosines, "Cos"), _of_angles(sines, "Sin")
                if found[0] is not None and found[1] is not None:
                    return _Rotation(add.outputs[0], heads, found[0], found[1])
    return None


def _product(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "Mul"):
        return None
    left, right = node.inputs
    return None if left is None or right is None else (left, right)


def _is_turned(value: ir.Value, heads: ir.Value) -> bool:
    """Whether ``value`` is [-second half, first half] of ``heads``, along the last axis."""
    join = value.producer()
    size = None if heads.shape is None or len(heads.shape) != 4 else heads.shape[-1]
    if join is None or not isinstance(size, int) or size % 2 or not is_op(join, "Concat"):
        return False
    if join.attributes.get_int("axis", 0) not in (-1, 3) or len(join.inputs) != 2:
        return False
    minus, first = (part.producer() if part is not None else None for part in join.inputs)
    if minus is None or first is None or not is_op(minus, "Neg") or minus.inputs[0] is None:
        return False
    second = minus.inputs[0].producer()
    cuts = _cut(first, heads, size), _cut(second, heads, size)
    return cuts == ((0, size // 2), (size // 2, size))


def _cut(node: ir.Node | None, whole: ir.Value, size: int) -> tuple[int, int] | None:
    """Where a Slice of ``whole`` along its last axis starts and stops."""
    if node is None or not is_op(node, "Slice") or node.inputs[0] is not whole:
        return None
    numbers = [number(value) for value in node.inputs[1:]]
    if len(numbers) < 3 or None in numbers or numbers[2] not in (-1, 3):
        return None
    if len(numbers) == 4 and numbers[3] != 1:
        return None
    start, stop, _ = slice(int(numbers[0] or 0), int(numbers[1] or 0)).indices(size)
    return start, stop


def _of_angles(value: ir.Value | None, function: str) -> ir.Value | None:
    """[batch, length, size] of [batch, 1, length, size] that cosines or sines were made into.

    Their halves must be the same: the function of angles that stand there twice.
    """
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "Unsqueeze") or number(node.inputs[1]) != 1:
        return None
    found = node.inputs[0]
    above = found
    while above is not None and (node := above.producer()) is not None:
        if is_op(node, "Cast", "Identity") or (
            is_op(node, "Mul") and number(node.inputs[1]) is not None
        ):
            above = node.inputs[0]
        elif is_op(node, function):
            return found if _is_twice(node.inputs[0]) else None
        else:
            return None
    return None


def _is_twice(angles: ir.Value | None) -> bool:
    node = None if angles is None else angles.producer()
    return (
        node is not None
        and is_op(node, "Concat")
        and len(node.inputs) == 2
        and node.inputs[0] is node.inputs[1]
        and node.attributes.get_int("axis", 0) in (-1, 2)
    )


class _Tables:
    """Cosines and sines as RotaryEmbedding wants them, made once for all that share them."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[object, ...], ir.Value] = {}
        self._nodes: list[ir.Node] = []

    def of(self, rotation: _Rotation) -> tuple[list[ir.Node], ir.Value, ir.Value, ir.Value]:
        """New nodes; cosines, sines [tokens, size / 2]; which are whose, int64 [batch, length]."""
        assert rotation.heads.shape is not None
        half = int(rotation.heads.shape[-1]) // 2  # type: ignore[arg-type]
        self._nodes = []
        cosines, sines = (self._half(each, half) for each in (rotation.cosines, rotation.sines))
        places = self._places(rotation.cosines, rotation.heads)
        return self._nodes, cosines, sines, places

    def _half(self, table: ir.Value, half: int) -> ir.Value:
        cut = self._op("Slice", table, self._ints(0), self._ints(half), self._ints(-1))
        return self._op("Reshape", cut, self._ints(-1, half))

    def _places(self, table: ir.Value, heads: ir.Value) -> ir.Value:
        """Of each token in ``table``, which has all texts of the batch or one that is for all."""
        sizes = self._op("Slice", self._op("Shape", table), self._ints(0), self._ints(2))
        zero, one = (store_number(self._graph, n) for n in (0, 1))
        tokens = self._op("ReduceProd", sizes, keepdims=0)
        places = self._op("Reshape", self._op("Range", zero, tokens, one), sizes)
        if table.shape is not None and heads.shape is not None and table.shape[0] == heads.shape[0]:
            return places  # so the exporter says, and all layers share them
        texts = self._op("Slice", self._op("Shape", heads), self._ints(0), self._ints(1))
        return self._op("Expand", places, self._op("Concat", texts, self._ints(1), axis=0))

    def _op(self, op: str, *inputs: ir.Value, **settings: int) -> ir.Value:
        key = (op, *inputs)
        if key not in self._made:
            node = ir.node(op, list(inputs), settings, name=f"{_NAME}.{op}.{len(self._made)}")
            value = node.outputs[0]
            value.name = node.name
            integer = op in ("Shape", "ReduceProd", "Range") or inputs[0].dtype == ir.DataType.INT64
            value.type = ir.TensorType(ir.DataType.INT64) if integer else inputs[0].type
            self._nodes.append(node)
            self._made[key] = value
        return self._made[key]

    def _ints(self, *numbers: int) -> ir.Value:
        return store_numbers(self._graph, *numbers)
