"""Packed output heads with a matrix of their own give what ``CompressedEmbedding.logits`` gives."""

from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir

from toolkit.graph.contract import is_head
from toolkit.graph.rows import computed

from ..tables import PackedTable
from .differences import max_difference, max_finite
from .limits import LAST_PLACES, TOLERANCE, refuse, told

_STATES = 24  # random hidden states of each check


def check_heads(path: Path, heads: Sequence[PackedTable]) -> list[float | None]:
    """Compare each head's nodes in the file with the reference, on random hidden states.

    Returns:
        The largest absolute difference of each head; None where its function was inlined, so that
        no node says where it begins: the check of the whole model covers it.

    Raises:
        CheckError: a head is off by more than additions in another order explain.
    """
    if not heads:
        return []
    model = ir.load(path)
    with told():
        return [_check(model, head) for head in heads]


def _check(model: ir.Model, head: PackedTable) -> float | None:
    functions = tuple(model.functions.values())
    found: list[float] = []
    for node in model.graph.all_nodes():
        hidden, logits = node.inputs[0] if node.inputs else None, node.outputs[0]
        if not is_head(node) or not _reads(node, head.name) or hidden is None:
            continue
        dtype = ir.DataType(node.attributes.get_int("to", int(ir.DataType.FLOAT)))
        rng = np.random.default_rng(0)
        states = rng.normal(size=(_STATES, head.embedding.width)).astype(dtype.numpy())
        got = computed(model.graph, hidden, logits, states, functions)
        wanted = head.embedding.logits(states)
        epsilon = float(ml_dtypes.finfo(dtype.numpy()).eps)  # type: ignore[no-untyped-call]
        limit = max(TOLERANCE, LAST_PLACES * epsilon) * max(1.0, max_finite(wanted))
        found.append(max_difference(got, wanted))
        refuse(f"the packed head {head.name} and logits()", found[-1], limit, "use --head dense")
    return max(found, default=None)


def _reads(node: ir.Node, matrix: str) -> bool:
    names = [value.name or "" for value in node.inputs[1:] if value is not None]
    return bool(names) and all(name.startswith(f"{matrix}.") for name in names)
