"""Where ids come from: the integer graph input whose values reach a look-up."""

import onnx_ir as ir

from ..bundle.feeds import NOT_IDS
from .forms import constant

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
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


def ids_input(ids: ir.Value | None, graph: ir.Graph) -> str | None:
    """The name of the input of ``graph`` that ``ids`` come from; None where none does.

    Of several, such as ids and a mask that they are multiplied with, the first that is not by its
    name something else.
    """
    found = _sources(ids, graph)[0]
    return next((name for name in found if name not in NOT_IDS), next(iter(found), None))


def what_stops(ids: ir.Value | None, graph: ir.Graph) -> str:
    """The operators above ``ids`` that are not known to give ids, for a message; "" for none."""
    return ", ".join(dict.fromkeys(_sources(ids, graph)[1]))


def _sources(ids: ir.Value | None, graph: ir.Graph) -> tuple[list[str], list[str]]:
    """Graph inputs that reach ``ids``, and operators that nothing was looked for above."""
    inputs, stopped = list[str](), list[str]()
    left, seen = [ids], set[ir.Value]()
    while left:
        value = left.pop(0)
        if value is None or value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if any(value is each for each in graph.inputs):  # with a default or without
            if value.dtype in INTEGERS and value.name:
                inputs.append(value.name)
        elif constant(value) is not None:
            continue
        elif node is None:
            stopped.append("an input of a branch or a loop")
        elif node.op_type in _CARRIES and node.domain in ("", "ai.onnx"):
            places = _CARRIES[node.op_type]
            left += node.inputs if places is None else [node.inputs[at] for at in places]
        else:
            stopped.append(node.op_type)
    return inputs, stopped


def find_ids_input(graph: ir.Graph) -> str | None:
    """``input_ids``, or the first input of integers that is no mask, type or position."""
    names = [value.name for value in graph.inputs if value.dtype in INTEGERS]
    rest = [name for name in names if name not in NOT_IDS]
    return "input_ids" if "input_ids" in names else rest[0] if rest else None
