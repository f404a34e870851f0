"""Attention as graphs write it out, in some twenty small nodes: found by what it computes."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolkit.graph.forms import constant, is_op

from .base import Mismatch
from .scalars import number, rank_of, width_of

_SPLIT = (0, 2, 1, 3)  # [batch, length, heads, size] <-> [batch, heads, length, size]
_SPLIT_AND_TURNED = (0, 2, 3, 1)
_TURNS = ((0, 1, 3, 2), (0, 2, 1))  # the last two axes swapped, of rank 4 or 3


@dataclass(frozen=True, eq=False)
class Attention:
    """softmax(scale q k' + masks) v of several heads.

    Attributes:
        output: [batch, length, heads * size], what the heads give side by side; or of another
            rank, as ``shape`` says.
        query: [batch, length, heads * size], or [batch, heads, length, size] if ``turned``, where
            something is done to heads one by one, such as rotary positions.
        key: [batch, others, heads * size], or [batch, heads, others, size].
        value: of the key's rank.
        masks: what is added to the scores, one after the other; each of them broadcasts to
            [batch, heads, length, others].
        heads: how many.
        scale: of the scores.
        turned: whether the query has heads before its length.
        shape: what the output is reshaped to, None where that is [batch, length, heads * size].
    """

    output: ir.Value
    query: ir.Value
    key: ir.Value
    value: ir.Value
    masks: tuple[ir.Value, ...]
    heads: int
    scale: float
    turned: bool = False
    shape: ir.Value | None = None


def find_attention(softmax: ir.Node) -> Attention:
    """The attention around a Softmax.

    What graphs do not tell, such as whether a Reshape leaves the batch alone, is taken for granted:
    whoever replaces has to prove the values equal.

    Raises:
        Mismatch: it is something else, or stands in another form; the text says what is different.
    """
    if softmax.attributes.get_int("axis", -1) not in (-1, 3):
        raise Mismatch("the Softmax is not along the last axis")
    scores, masks = _without_masks(softmax.inputs[0])
    scores, scale = _without_factor(scores)
    product = _made_by(scores, "MatMul")
    weights = _after_cast(_guarded(softmax.outputs[0], masks))
    weighted = _read_by(weights, "MatMul")
    if product is None:
        raise Mismatch("its scores are no product of queries and keys")
    if weighted is None or weighted.inputs[0] is not weights:
        raise Mismatch("its weights are not multiplied by values")
    join = _joined(weighted.outputs[0])
    if join is None:
        raise Mismatch("the heads' outputs are not put side by side by Transpose and Reshape")
    queries, of_queries = _without_factor(product.inputs[0])
    keys, of_keys = _without_factor(product.inputs[1])
    keys, of_turned = _without_factor(_turned(keys))
    values = weighted.inputs[1]
    if queries is None or keys is None or values is None:
        raise Mismatch("queries, keys or values are missing")
    query, key, value = _side_by_side(queries), _side_by_side(keys), _side_by_side(values)
    heads = query[1] if query is not None else _heads(queries)
    if key is not None and value is not None:
        if not heads == key[1] == value[1]:
            raise Mismatch(f"queries have {heads} heads, keys {key[1]}, values {value[1]}")
        keys, values = key[0], value[0]
    elif key is not None and _made_by(keys, "Transpose") is not None and not _is_split(keys):
        raise Mismatch("keys are split into heads, values are not")
    if heads is None:
        raise Mismatch("the number of heads stands nowhere in the graph")
    return Attention(
        output=join.outputs[0],
        query=queries if query is None else query[0],
        key=keys,
        value=values,
        masks=masks,
        heads=heads,
        scale=scale * of_queries * of_keys * of_turned,
        turned=query is None,
        shape=None if len(_sizes(join)) == 3 else join.inputs[1],
    )


def _made_by(value: ir.Value | None, *names: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and is_op(node, *names) else None


def _read_by(value: ir.Value, name: str) -> ir.Node | None:
    """The one node that reads ``value``; who asks for its shape alone does not count."""
    nodes = [use.node for use in value.uses() if not is_op(use.node, "Shape")]
    node = nodes[0] if len(nodes) == 1 and not value.is_graph_output() else None
    return node if node is not None and is_op(node, name) else None


def _guarded(weights: ir.Value, masks: tuple[ir.Value, ...]) -> ir.Value:
    """The weights after zeros were put in place of NaN, which finite masks never make."""
    for use in weights.uses():
        node = use.node
        if not is_op(node, "Where") or node.inputs[2] is not weights:
            continue
        test = _made_by(node.inputs[0], "IsNaN")
        alone = {each.node for each in weights.uses()} == {node, test}
        if alone and test is not None and all(map(_is_finite, masks)):
            return node.outputs[0]
    return weights


def _is_finite(mask: ir.Value | None) -> bool:
    """Whether a mask is chosen among finite numbers, and only cut or spread after that."""
    if (tensor := constant(mask)) is not None:
        return bool(np.isfinite(tensor.numpy()).all())
    if (choice := _made_by(mask, "Where")) is not None:
        return all(map(_is_finite, choice.inputs[1:]))
    if (filled := _made_by(mask, "ConstantOfShape")) is not None:
        given = filled.attributes.get("value")
        return given is None or bool(np.isfinite(given.as_tensor().numpy()).all())
    same = _made_by(mask, "Slice", "Expand", "Unsqueeze", "Reshape", "Cast", "Identity")
    return same is not None and _is_finite(same.inputs[0])


def _joined(heads: ir.Value) -> ir.Node | None:
    """The Reshape that puts the heads' outputs [batch, heads, length, size] side by side."""
    swap = _read_by(heads, "Transpose")
    if swap is None or _order(swap) != _SPLIT:
        return None
    join = _read_by(swap.outputs[0], "Reshape")
    if join is None:
        return None
    # Tokens of all texts in a row need no look at the sizes before.
    flat = constant(join.inputs[1])
    if len(_sizes(join)) == 3 or (flat is not None and flat.size == 2 and flat.numpy().all()):
        return join
    return None


def _without_masks(scores: ir.Value | None) -> tuple[ir.Value | None, tuple[ir.Value, ...]]:
    """Scores before anything is added to them, and what is added, the last first."""
    masks: list[ir.Value] = []
    scores = _before_cast(scores)
    while (add := _made_by(scores, "Add")) is not None:
        left, right = add.inputs
        if left is None or right is None:
            break
        scores, mask = (left, right) if _is_scores(left) else (right, left)
        masks.append(mask)
    return scores, tuple(masks)


def _after_cast(weights: ir.Value) -> ir.Value:
    """The weights behind the Cast that goes with :func:`_before_cast`'s."""
    cast = _read_by(weights, "Cast")
    single = cast is not None and cast.attributes.get_int("to", 0) == ir.DataType.FLOAT
    return cast.outputs[0] if cast is not None and single else weights


def _before_cast(value: ir.Value | None) -> ir.Value | None:
    """What a Cast of scores to float32 casts: tracers guard the Softmax of half precision so."""
    cast = _made_by(value, "Cast")
    single = cast is not None and cast.attributes.get_int("to", 0) == ir.DataType.FLOAT
    return cast.inputs[0] if cast is not None and single else value


def _is_scores(value: ir.Value) -> bool:
    """Whether a product of activations is under these sums and factors."""
    below, _ = _without_masks(value) if _made_by(value, "Add") else (value, ())
    return _made_by(_without_factor(below)[0], "MatMul") is not None


def _without_factor(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """What stands before a product with one number, or a quotient by it; and the factor."""
    node = _made_by(value, "Mul", "Div")
    if node is None:
        return value, 1.0
    for index in (1, 0) if node.op_type == "Mul" else (1,):
        factor = number(node.inputs[index])
        if factor is not None:
            return node.inputs[1 - index], factor if node.op_type == "Mul" else 1 / factor
    return value, 1.0


def _turned(value: ir.Value | None) -> ir.Value | None:
    """[.., a, b] of a value [.., b, a] that was made of it; the value itself if none was.

    Exporters turn rank 4 as rank 3 too, between two Reshapes. Where heads are split in the same
    Transpose, that one is left for :func:`_side_by_side`.
    """
    node = _made_by(value, "Reshape") or _made_by(value, "Transpose")
    inner = _made_by(node.inputs[0], "Transpose") if node and node.op_type == "Reshape" else node
    if inner is None or _order(inner) not in _TURNS:
        return value
    outer = _made_by(inner.inputs[0], "Reshape") if inner is not node else None
    return outer.inputs[0] if outer is not None else inner.inputs[0]


def _side_by_side(value: ir.Value | None) -> tuple[ir.Value, int] | None:
    """[batch, length, heads * size] of heads that were split, and how many there are."""
    swap = _made_by(value, "Transpose")
    if swap is None or _order(swap) not in (_SPLIT, _SPLIT_AND_TURNED):
        return None
    split = _made_by(swap.inputs[0], "Reshape")
    if split is None or split.inputs[0] is None:
        return None
    sizes = _sizes(split)
    if len(sizes) != 4:
        return None
    heads, size = sizes[2], sizes[3]
    if heads == -1 and size and size > 0:  # as many as are in the width
        heads = (width_of(split.inputs[0]) or 0) // size
    return (split.inputs[0], heads) if heads and heads > 0 else None


def _is_split(value: ir.Value) -> bool:
    swap = _made_by(value, "Transpose")
    return swap is not None and _order(swap) == _SPLIT


def _heads(value: ir.Value) -> int | None:
    """Of [batch, heads, length, size]."""
    sizes = () if value.shape is None else tuple(value.shape)
    return sizes[1] if len(sizes) == 4 and isinstance(sizes[1], int) else None


def _order(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints("perm", ()))


def _sizes(reshape: ir.Node) -> tuple[int | None, ...]:
    """What a Reshape makes, None for a size that is not told; () where not even the rank is."""
    shape = reshape.outputs[0].shape
    found = () if shape is None else tuple(n if isinstance(n, int) else None for n in shape)
    wanted = _asked(reshape.inputs[1])
    if not found or len(found) != len(wanted):
        return found or wanted
    # Inference may lose what the Reshape itself says.
    return tuple(a if a is not None else b for a, b in zip(found, wanted, strict=True))


def _asked(shape: ir.Value | None) -> tuple[int | None, ...]:
    """The sizes that a Reshape asks for, None for one that is computed; () where none is told."""
    tensor = constant(shape)
    if tensor is not None:
        return tuple(int(size) for size in tensor.numpy())
    parts = _made_by(shape, "Concat")
    found: list[int | None] = []
    for part in () if parts is None else parts.inputs:
        known = constant(part)
        if known is not None:
            found += [int(size) for size in known.numpy().ravel()]
        else:
            found += [None] * _count(part)
    return tuple(found)


def _count(sizes: ir.Value | None) -> int:
    """How many sizes a part of a shape holds: tracers join leading ones in a Slice of a Shape."""
    cut = _made_by(sizes, "Slice")
    whole = None if cut is None else _made_by(cut.inputs[0], "Shape")
    if cut is None or whole is None:
        return 1
    start, stop = (number(value) for value in cut.inputs[1:3])
    rank = rank_of(whole.inputs[0])
    if start is None or stop is None or rank is None:
        return 1
    return len(range(rank)[int(start) : int(stop)])
