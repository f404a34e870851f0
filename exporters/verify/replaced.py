"""The original model with its tables replaced by given floats: what a rewritten one must equal."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.graph.heads import find_heads
from toolkit.graph.own_heads import find_own_heads
from toolkit.graph.plain import load_plain
from toolkit.graph.products import BLOCKS, Head
from toolkit.graph.store import store
from toolkit.graph.tables import Lookup, find_tables
from toolkit.table.grouped import PACKED

from ..passes.base import put_in_place


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
    model = load_plain(original)
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


def save_exact(model: Path, tables: Iterable[str], path: Path) -> None:
    """Write ``model`` to ``path`` with stock heads of ``tables`` that leave hidden states as they
    are: of 8 bits no two kernels agree to the bit."""
    loaded = ir.load(model)
    names = {f"{table}.{PACKED}" for table in tables}
    for node in loaded.graph.all_nodes():
        if node.op_type == BLOCKS and node.inputs[1] is not None and node.inputs[1].name in names:
            node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 0)
    _save(loaded, path)


def _save(model: ir.Model, path: Path) -> None:
    """With a copy of all weights: loaders refuse files that have several names."""
    data = f"{path.name}.data"
    if (path.parent / data).exists():
        raise ValueError(f"{path.parent / data} is there already, and may be the original's")
    ir.save(model, path, external_data=data)


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
