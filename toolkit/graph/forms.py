"""The forms that a table has in a graph: what is constant, of which type, what makes floats of it.

A table may be an initializer of the graph or of a branch, or a Constant node. It may hold floats,
or integers that a DequantizeLinear or onnxruntime's GatherBlockQuantized reads with scales. Floats
may stand transposed, as an output head that shares the table reads them.
"""

from collections.abc import Iterator

import onnx_ir as ir

from .contract import TRELLIS

FLOATS = {
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.BFLOAT16,
    ir.DataType.DOUBLE,
}
MICROSOFT = "com.microsoft"
# Operators that round activations to integers. The last bit of a sum then decides a step, so that
# no two kernels agree to the bit.
ROUNDING = frozenset(
    {
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulNBits",
        "MatMulInteger",
        "QLinearMatMul",
        TRELLIS,
    }
)


def is_op(node: ir.Node, *names: str) -> bool:
    """Whether it is one of these standard operators."""
    return node.op_type in names and node.domain in ("", "ai.onnx")


def rounds_activations(graph: ir.Graph) -> bool:
    """Whether a node of the graph or of a branch is one of :data:`ROUNDING`."""
    return any(node.op_type in ROUNDING for node in graph.all_nodes())


def is_plain_gemm(node: ir.Node) -> bool:
    """Whether it is a Gemm that is a product and a sum, of inputs as they are but for B."""
    factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    turned = node.attributes.get_int("transA", 0)
    return is_op(node, "Gemm") and not turned and factors == [1.0, 1.0]


def turns(node: ir.Node) -> bool:
    """Whether it is a Transpose of a matrix that swaps its two dimensions."""
    perm = node.attributes.get("perm")
    return is_op(node, "Transpose") and (perm is None or list(perm.as_ints()) == [1, 0])


def is_blocks(node: ir.Node) -> bool:
    """Whether it looks rows up in blocks of integers."""
    return node.op_type == "GatherBlockQuantized" and node.domain == MICROSOFT


def dequantizes(node: ir.Node) -> bool:
    """Whether it is a DequantizeLinear; onnxruntime has one of its own for types new to ONNX."""
    return node.op_type == "DequantizeLinear" and node.domain in ("", "ai.onnx", MICROSOFT)


def remakes(node: ir.Node) -> bool:
    """Whether it gives the same table in another type, or with its columns grouped otherwise."""
    if is_op(node, "Reshape"):
        shape, wanted = shape_of(node.inputs[0]), constant(node.inputs[1])
        return bool(shape) and wanted is not None and int(wanted.numpy()[0]) == shape[0]
    scaled = all(value is None or constant(value) is not None for value in node.inputs[1:])
    return is_op(node, "Cast", "Identity") or (dequantizes(node) and scaled)


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node's output, None of anything else."""
    return None if value is None else ir.convenience.get_const_tensor(value)


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """Of a constant; () of anything else."""
    tensor = constant(value)
    return () if tensor is None else tuple(int(size) for size in tensor.shape.numpy())


def type_of(value: ir.Value | None) -> ir.DataType | None:
    """The type of a table or of its rows, followed up to the constant: graphs need not tell it."""
    if (tensor := constant(value)) is not None:
        return tensor.dtype
    node = None if value is None else value.producer()
    if node is None:
        return None if value is None else value.dtype
    if is_op(node, "Cast"):
        return ir.DataType(node.attributes.get_int("to", 0))
    if dequantizes(node):
        chosen = node.attributes.get_int("output_dtype", 0)
        return ir.DataType(chosen) if chosen else type_of(node.inputs[1])
    if is_op(node, "QuantizeLinear"):
        return type_of(node.inputs[2]) if len(node.inputs) > 2 else ir.DataType.UINT8
    return type_of(node.inputs[2 if is_blocks(node) else 0])


def above(value: ir.Value | None) -> Iterator[ir.Node]:
    """The nodes between a stored table and ``value``, which holds it, from ``value`` up."""
    while value is not None and constant(value) is None:
        node = value.producer()
        if node is None or not remakes(node):
            return
        yield node
        value = node.inputs[0]


def stored(value: ir.Value | None) -> ir.Value | None:
    """The constant that ``value`` is made of, None where there is more to it."""
    for node in above(value):
        value = node.inputs[0]
    return value if constant(value) is not None else None
