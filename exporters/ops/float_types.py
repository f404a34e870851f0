"""A packed layer's function that takes its floats in any type, as converters to float16 hand them.

Such a converter makes float16 of a model's initializers and values, and leaves functions as they
are. So a function casts the floats that it is given to float32, and its result to the type that it
was given. In a float32 model these casts change nothing, and onnxruntime drops them.

The native kernel takes float32 tensors alone; a file of float16 ones runs on the function.
"""

from collections.abc import Sequence

import onnx_ir as ir

CAST_LIKE_OPSET = 15
_NAME = "any_float"  # what the nodes of this file are called


def take_any_float(
    function: ir.Function, floats: Sequence[ir.Value], like: ir.Value | None = None
) -> None:
    """Let the inputs ``floats``, which the body reads as float32, have any float type.

    ``like``: one of them, whose type the output gets, float32 so far; None leaves it as it is.
    """
    first = function[0]
    for value in floats:
        cast = ir.node(
            "Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{_NAME}.{value.name}"
        )
        cast.outputs[0].name = f"{cast.name}.float"
        value.replace_all_uses_with(cast.outputs[0])
        cast.replace_input_with(0, value)
        function.insert_before(first, cast)
    if like is None:
        return
    # Before the last node, a Reshape: onnxruntime keeps a cast that makes an output of the model.
    last = function.outputs[0].producer()
    assert last is not None
    assert last.op_type == "Reshape"
    typed = ir.node("CastLike", [last.inputs[0], like], name=f"{_NAME}.output")
    typed.outputs[0].name = f"{typed.name}.typed"
    last.replace_input_with(0, typed.outputs[0])
    function.insert_before(last, typed)


def take_float32(function: ir.Function) -> None:
    """Undo :func:`take_any_float`: no casts for devices to stumble over."""
    for node in list(function):
        if not (node.name or "").startswith(f"{_NAME}."):
            continue
        value = node.inputs[0]
        assert value is not None
        node.outputs[0].replace_all_uses_with(value)
        function.remove(node, safe=True)
