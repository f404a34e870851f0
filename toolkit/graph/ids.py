"""Where ids come from: the integer graph input whose values reach a look-up."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..bundle.feeds import NOT_IDS
from .forms import constant, is_op

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
# What else may carry ids to a Cast: Keras makes inputs of floats where nothing else is asked for.
_NUMBERS = (
    *(ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT8, ir.DataType.INT16),
    *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
)
# Operators that give ids of what they are given, or ids moved by a constant, and which of their
# inputs those are. What a comparison, a count or a running sum makes of ids is none: so RoBERTa
# makes positions of them.
_CARRIES: dict[str, tuple[int, ...] | None] = {  # None: all inputs
    **dict.fromkeys(("Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"), (0,)),
    **dict.fromkeys(("Slice", "Expand", "Transpose", "Clip", "Pad", "Tile", "Split"), (0,)),
    **dict.fromkeys(("Gather", "GatherND", "GatherElements", "Trilu", "Compress"), (0,)),
    **dict.fromkeys(("ScatterElements", "ScatterND"), (0, 2)),
    **dict.fromkeys(("CastLike", "ReverseSequence", "Unique", "Neg", "Abs", "BitShift"), (0,)),
    **dict.fromkeys(("Concat", "Min", "Max", "Sum", "Add", "Sub", "Mul", "Div", "Mod"), None),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"), None),  # hashes
    "Where": (1, 2),
}

# Of a constant they give other ids: the rows of tokens, where a vocabulary was made smaller.
_CHOOSES = ("Gather", "GatherND", "GatherElements")

# Inputs of a body before those that are given: a loop's counter and its condition.
_FIRST = {"Loop": 2, "Scan": 0}


def ids_input(ids: ir.Value | None, graph: ir.Graph) -> str | None:
    """The name of the input of ``graph`` that ``ids`` come from; None where none does.

    Of several, such as ids and a mask that they are multiplied with, the first of integers that is
    not by its name something else.
    """
    found = sorted(_sources(ids, graph)[0], key=lambda value: value.dtype not in INTEGERS)
    names = [value.name for value in found if value.name]
    return next((name for name in names if name not in NOT_IDS), next(iter(names), None))


def rows_of_tokens(ids: ir.Value | None) -> NDArray[np.integer] | None:
    """The row of each token [V], where a Gather from a constant makes ``ids`` rows' numbers."""
    node = None if ids is None else ids.producer()
    while node is not None and is_op(node, "Cast", "Reshape", "Identity", "Squeeze", "Unsqueeze"):
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    tensor = constant(node.inputs[0]) if node is not None and is_op(node, "Gather") else None
    found = None if tensor is None else tensor.numpy()
    return found if found is not None and found.ndim == 1 and found.dtype.kind == "i" else None


def what_stops(ids: ir.Value | None, graph: ir.Graph) -> str:
    """The operators above ``ids`` that are not known to give ids, for a message; "" for none."""
    return ", ".join(dict.fromkeys(_sources(ids, graph)[1]))


def _sources(ids: ir.Value | None, graph: ir.Graph) -> tuple[list[ir.Value], list[str]]:
    """Graph inputs that reach ``ids``, and operators that nothing was looked for above."""
    inputs, stopped = list[ir.Value](), list[str]()
    left, seen = [ids], set[ir.Value]()
    while left:
        value = left.pop(0)
        if value is None or value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if any(value is each for each in graph.inputs):  # with a default or without
            if value.dtype in (*INTEGERS, *_NUMBERS):
                inputs.append(value)
            else:
                stopped.append(f"the input {value.name} of another type")
        elif constant(value) is not None:
            continue
        elif node is None:
            outside = list(_into_body(value, graph))
            left += outside
            stopped += [] if outside else ["the counter of a loop"]
        elif is_op(node, *_CHOOSES) and constant(node.inputs[0]) is not None:
            left.append(node.inputs[1])
        elif node.op_type in _CARRIES and node.domain in ("", "ai.onnx"):
            places = _CARRIES[node.op_type]
            left += node.inputs if places is None else [node.inputs[at] for at in places]
        elif is_op(node, "If", "Loop", "Scan"):
            left += _out_of_body(node, value)
        else:
            stopped.append(node.op_type)
    return inputs, stopped


def _into_body(value: ir.Value, graph: ir.Graph) -> Iterator[ir.Value | None]:
    """What a Loop or a Scan puts into this input of its body: at first, and after each turn."""
    for node in graph.all_nodes():
        body = node.attributes.get("body") if is_op(node, "Loop", "Scan") else None
        inputs = [] if body is None else list(body.as_graph().inputs)
        index = next((at for at, each in enumerate(inputs) if each is value), -1)
        first = _FIRST.get(node.op_type, 0)
        if body is None or index < first:
            continue
        yield node.inputs[index]
        if first or index < len(inputs) - node.attributes.get_int("num_scan_inputs", 0):
            yield body.as_graph().outputs[index - (1 if first else 0)]


def _out_of_body(node: ir.Node, value: ir.Value) -> Iterator[ir.Value | None]:
    """What an If, a Loop or a Scan gives as its output ``value``."""
    index = next(at for at, each in enumerate(node.outputs) if each is value)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph().outputs[index + (1 if is_op(node, "Loop") else 0)]


def find_ids_input(graph: ir.Graph) -> str | None:
    """``input_ids``, or the first input of integers that is no mask, type or position."""
    names = [value.name for value in graph.inputs if value.dtype in INTEGERS]
    rest = [name for name in names if name not in NOT_IDS]
    return "input_ids" if "input_ids" in names else rest[0] if rest else None
