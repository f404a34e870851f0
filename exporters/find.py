"""Which tables a graph looks tokens up in: found by use, never by name."""

from dataclasses import dataclass

import onnx_ir as ir

from toolkit.errors import InputError

# Ops between a graph input and a Gather's indices that leave every id what it is.
_PASS_THROUGH = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
_FLOATS = {
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.BFLOAT16,
    ir.DataType.DOUBLE,
}


@dataclass(frozen=True)
class TableUse:
    """An embedding table and who reads it.

    Attributes:
        value: the initializer [rows, width].
        gathers: nodes that look rows up in it by ids from the input ``ids_input``.
        others: every other reader, such as an output head that shares the table.
    """

    value: ir.Value
    ids_input: str
    gathers: tuple[ir.Node, ...]
    others: tuple[ir.Node, ...]

    @property
    def name(self) -> str:
        """The initializer's name."""
        return self.value.name or ""

    @property
    def rows(self) -> int:
        """V."""
        return int(_dims(self.value)[0])

    @property
    def width(self) -> int:
        """d."""
        return int(_dims(self.value)[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the table as stored in the graph."""
        assert self.value.const_value is not None
        return self.value.const_value.nbytes


def find_tables(graph: ir.Graph) -> list[TableUse]:
    """Every float matrix that rows are gathered from by ids of a graph input, largest first."""
    tables = []
    for value in graph.initializers.values():
        if value.const_value is None or len(_dims(value)) != 2 or value.dtype not in _FLOATS:
            continue
        inputs: dict[ir.Node, str] = {}
        for node, index in value.uses():
            name = _ids_input(node) if index == 0 else None
            if name is not None:
                inputs[node] = name
        if inputs:
            others = tuple(node for node, _ in value.uses() if node not in inputs)
            tables.append(TableUse(value, next(iter(inputs.values())), tuple(inputs), others))
    return sorted(tables, key=lambda table: -table.nbytes)


def find_token_table(graph: ir.Graph) -> TableUse:
    """The largest table looked up by ids.

    Raises:
        InputError: the graph has none; the message names the inputs that were traced.
    """
    tables = find_tables(graph)
    if not tables:
        inputs = ", ".join(value.name or "?" for value in graph.inputs) or "none"
        raise InputError(
            f"no token table: no float matrix is looked up by ids from a graph input ({inputs}); "
            "give a model that takes token ids"
        )
    return tables[0]


def _ids_input(gather: ir.Node) -> str | None:
    """The integer graph input whose values reach the Gather's indices unchanged, or None."""
    if gather.op_type != "Gather" or gather.domain not in ("", "ai.onnx"):
        return None
    axis = gather.attributes.get("axis")
    if axis is not None and axis.as_int() not in (0, -2):
        return None
    value = gather.inputs[1]
    while value is not None:
        node = value.producer()
        if node is None:
            is_ids = value.is_graph_input() and value.dtype in (
                ir.DataType.INT32,
                ir.DataType.INT64,
            )
            return value.name if is_ids else None
        if node.op_type not in _PASS_THROUGH:
            return None
        value = node.inputs[0]
    return None


def _dims(value: ir.Value) -> tuple[int, ...]:
    return tuple(value.const_value.shape.numpy()) if value.const_value is not None else ()
