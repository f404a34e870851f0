"""Whether every node has what its operator needs, so that what reads a graph need not ask."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from ..errors import InputError
from .forms import MICROSOFT

# Of onnxruntime's own operators onnx has no schemas: inputs that those read here always have.
_NEEDED = {
    "DequantizeLinear": (0, 1),
    "EmbedLayerNormalization": (0, 2, 3, 5, 6),
    "GatherBlockQuantized": (0, 1, 2),
    "GroupQueryAttention": (0,),
    "MatMulNBits": (0, 1, 2),
    "MultiHeadAttention": (0,),
}
_SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single


def check_nodes(model: ir.Model, path: Path) -> None:
    """Hold the nodes of ``model``, of its branches and functions, to their operators.

    Operators that onnx does not know are taken as they are, apart from some of onnxruntime's.

    Raises:
        InputError: a node reads a value that nothing gives, lacks an input, an output or an
            attribute that its operator must have, or has an attribute of another type.
    """
    parts = [(model.graph.all_nodes(), model.opset_imports)]
    parts += [(one.all_nodes(), one.opset_imports) for one in model.functions.values()]
    for nodes, versions in parts:
        for node in nodes:
            problem = next(_problems(node, versions.get(node.domain) or versions.get("")), None)
            if problem is not None:
                raise InputError(
                    f"{path} is no whole model: {node.op_type} {node.name} {problem}; export it "
                    "again"
                )


def _problems(node: ir.Node, version: int | None) -> Iterator[str]:
    for value in node.inputs:
        # Builders have been seen to forget zero points that a node reads.
        if value is not None and value.producer() is None and _is_nowhere(value):
            yield f"reads {value.name}, which is not in the file"
    if node.domain == MICROSOFT:
        yield from _missing(node, _NEEDED.get(node.op_type, ()))
    elif node.domain in ("", "ai.onnx") and version is not None:
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
        except onnx.defs.SchemaError:  # such as those that onnxruntime's optimiser puts here
            return
        yield from _unlike(node, schema)


def _is_nowhere(value: ir.Value) -> bool:
    return not (value.is_graph_input() or value.is_initializer())


def _unlike(node: ir.Node, schema: onnx.defs.OpSchema) -> Iterator[str]:
    needed = [at for at, one in enumerate(schema.inputs) if one.option == _SINGLE]
    yield from _missing(node, tuple(needed))
    if len(node.inputs) < schema.min_input:
        yield f"has {len(node.inputs)} inputs and needs {schema.min_input}"
    if len(node.outputs) < schema.min_output:
        yield f"has {len(node.outputs)} outputs and needs {schema.min_output}"
    for name, known in schema.attributes.items():
        found = node.attributes.get(name)
        if found is None:
            if known.required:
                yield f"has no attribute {name}"
            continue
        wanted: str = known.type.name  # type: ignore[attr-defined]  # onnx's stubs lack it
        if not found.is_ref() and found.type.name != wanted:
            yield f"has an attribute {name} that is {found.type.name}, not {wanted}"


def _missing(node: ir.Node, needed: tuple[int, ...]) -> Iterator[str]:
    for at in needed:
        if at >= len(node.inputs) or node.inputs[at] is None:
            yield f"has no input {at}"
