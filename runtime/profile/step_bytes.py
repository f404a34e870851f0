"""What a decoder reads of its files and its cache to write one token."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from toolkit.bundle.feeds import is_cache
from toolkit.bundle.tensors import TensorInfo
from toolkit.graph.contract import HEAD, is_lookup, packed_tensors, stored_values, without_number
from toolkit.graph.files import load_proto
from toolkit.graph.forms import constant
from toolkit.graph.gathers import nodes_around, row_gathers


@dataclass(frozen=True)
class StepBytes:
    """Bytes that one step over one token has to read, as they are stored.

    What a runtime unpacks, converts or copies on the way comes on top.

    Attributes:
        table: of the token table: all of it where a head multiplies by it, else a row.
        weights: every other tensor; of what rows are looked up in, a row.
        cache: keys and values of one token of the text so far.
    """

    table: float
    weights: float
    cache: float

    def after(self, tokens: float) -> float:
        """All bytes of a step whose text has so many tokens."""
        return self.table + self.weights + tokens * self.cache


def step_bytes(model: Path, inputs: Sequence[TensorInfo]) -> StepBytes:
    """Of an ``.onnx`` file; only sizes are read, no tensor of an external file.

    Raises:
        FormatError: no ONNX file.
    """
    loaded = ir.from_proto(load_proto(model))
    graph = loaded.graph
    gathers = list(row_gathers(graph))
    around = {node for gather in gathers for node in nodes_around(gather)}
    of_table = packed_tensors(graph)
    table = weights = 0.0
    for value in stored_values(graph):
        tensor = constant(value)
        if tensor is None:
            continue
        nbytes = float(tensor.nbytes)
        if _gives_rows(value, around):
            nbytes /= max(tensor.shape.numpy(), default=1)
        if value in of_table or _is_looked_up(value, gathers):
            table += nbytes
        else:
            weights += nbytes
    for function in loaded.functions.values():
        if without_number(function.name) == HEAD:  # the order of its rows
            table += sum(_constants(function))
    return StepBytes(table, weights, sum(map(_cache_bytes, inputs)))


def _gives_rows(value: ir.Value, around: Collection[ir.Node]) -> bool:
    """Whether nothing but look-ups of rows reads it, directly or dequantised."""
    users = [node for node, _ in value.uses()]
    if not users:
        return False
    for node in users:
        if is_lookup(node):
            continue
        gathers = node.op_type in ("Gather", "GatherBlockQuantized")
        if node not in around or not (gathers or _gives_rows(node.outputs[0], around)):
            return False
    return True


def _is_looked_up(value: ir.Value, gathers: Collection[ir.Node]) -> bool:
    """Whether one of ``gathers`` finds the rows of ids in it."""
    return any(value in gather.inputs for gather in gathers)


def _constants(function: ir.Function) -> Iterator[int]:
    """Bytes of what its body holds."""
    for node in function:
        tensor = constant(node.outputs[0]) if node.op_type == "Constant" else None
        if tensor is not None:
            yield tensor.nbytes


def _cache_bytes(info: TensorInfo) -> float:
    """Of one token: the batch is 1, and the length is the other dimension that is free."""
    if not is_cache(info.name) or info.numpy_dtype is None:
        return 0.0
    fixed = [size for size in info.shape[1:] if isinstance(size, int)]
    return float(math.prod(fixed) * info.numpy_dtype.itemsize)
