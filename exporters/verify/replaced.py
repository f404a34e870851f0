"""The original model with its tables replaced by given floats: what a rewritten one must equal."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.graph.heads import find_heads
from toolkit.graph.own_heads import find_own_heads
from toolkit.graph.products import Head
from toolkit.graph.tables import Lookup, find_tables

from ..passes.base import put_in_place, store

_SMALL = 1024  # bytes


def save_replaced(
    original: Path,
    tables: Mapping[str, NDArray[np.floating]],
    heads: set[str],
    path: Path,
    *,
    own_heads: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write the original to ``path``, looking up in ``tables`` [V, d] what it looked up before.

    ``heads``: the tables that output heads read too. ``own_heads``: what stands in place of heads'
    own matrices [V, d], by their names. ``path`` must not share a name with the original's files,
    of which links are made beside it.

    Raises:
        ValueError: it does.
    """
    model = ir.load(original)
    uses = {use.name: use for use in find_tables(model.graph)}
    owned = {own.name: own for own in find_own_heads(model.graph)} if own_heads else {}
    for name, values in (own_heads or {}).items():
        matrix = _Dense(model.graph, name, values)
        for head in owned[name].heads:
            matrix.project(head)
    for name, values in tables.items():
        use = uses[name]
        dense = _Dense(model.graph, name, values)
        served = find_heads(model.graph, use) if name in heads else []
        for lookup in use.lookups:
            dense.look_up(lookup)
        for head in served:
            dense.project(head)
    _save(model, path)


def _save(model: ir.Model, path: Path) -> None:
    """Beside it a link to the original's weights, which may take gigabytes, in place of a copy."""
    values = [value for each in _graphs(model) for value in each.initializers.values()]
    tensors = [value.const_value for value in values]
    kept = {Path(t.path): Path(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
    data = f"{path.name}.data"
    if data in {location.as_posix() for location in kept.values()}:
        raise ValueError(
            f"{data} is a file of the original's too: it would be written through a link"
        )
    try:
        for source, location in kept.items():
            (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
            (path.parent / location).hardlink_to(source)
    except OSError:  # another disk, or one that knows no links
        ir.save(model, path, external_data=data)
        return
    # Axes and shapes have to stay in the file: onnxruntime infers shapes from them.
    new = [value for value in values if _is_large(value.const_value)]
    held = [tensor for value in new if (tensor := value.const_value) is not None]
    external = ir.external_data.convert_tensors_to_external(held, path.parent, data)
    for value, tensor in zip(new, external, strict=True):
        value.const_value = tensor
    ir.save(model, path)


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    return (
        tensor is not None and not isinstance(tensor, ir.ExternalTensor) and tensor.nbytes > _SMALL
    )


def _graphs(model: ir.Model) -> tuple[ir.Graph, ...]:
    return model.graph, *model.graph.subgraphs()


class _Dense:
    """A table of floats, stored in each type that someone reads it in."""

    def __init__(self, graph: ir.Graph, name: str, values: NDArray[np.floating]) -> None:
        self._graph, self._name, self._values = graph, name, values
        self._stored: dict[tuple[ir.DataType, bool], ir.Value] = {}

    def look_up(self, lookup: Lookup) -> None:
        """Let a Gather of this table make the rows."""
        gather = ir.node("Gather", [self._value(lookup.dtype, turned=False), lookup.ids])
        put_in_place(lookup.rows, [gather])

    def project(self, head: Head) -> None:
        """Let a product with this table make the logits."""
        nodes = [ir.node("MatMul", [head.hidden, self._value(head.dtype, turned=True)])]
        if head.bias is not None:
            nodes.append(ir.node("Add", [nodes[0].outputs[0], head.bias]))
        put_in_place(head.node.outputs[0], nodes)

    def _value(self, dtype: ir.DataType, *, turned: bool) -> ir.Value:
        if (dtype, turned) not in self._stored:
            array = self._values.T if turned else self._values
            name = f"{self._name}.decoded.{dtype.name}{'.turned' if turned else ''}"
            values = np.ascontiguousarray(array, dtype.numpy())
            self._stored[dtype, turned] = store(self._graph, name, values)
        return self._stored[dtype, turned]
