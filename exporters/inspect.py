"""Where a model's bytes are, and who reads its tables."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from toolkit.bundle.manifest import Manifest
from toolkit.errors import FormatError
from toolkit.graph.contract import DOMAIN
from toolkit.graph.files import model_nbytes
from toolkit.graph.own_heads import find_own_heads
from toolkit.graph.plain import load_plain
from toolkit.graph.store import stored_as
from toolkit.graph.tables import find_tables
from toolkit.table.grouped import PACKED


@dataclass(frozen=True)
class Part:
    """An initializer."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table that is not packed and that tokens are looked up in, and the nodes that read it.

    Attributes:
        form: how it is stored: ``float``, or ``uint8, DequantizeLinear``.
    """

    name: str
    rows: int
    width: int
    nbytes: int
    ids_input: str
    gathers: tuple[str, ...]
    others: tuple[str, ...]
    form: str


@dataclass(frozen=True)
class DenseHead:
    """An output head that is not packed, a matrix of its own.

    Attributes:
        form: how it is stored: ``float``, or ``uint8, DequantizeLinear``.
    """

    name: str
    rows: int
    width: int
    nbytes: int
    form: str


@dataclass(frozen=True)
class Inspection:
    """All of a model's weights by size, its tables and heads, and its packed layers.

    Attributes:
        packed: bytes that each ``ai.lighttoken`` node reads, by node name.
        graph_bytes: bytes of the graph itself: file bytes that are no weights.
    """

    opset: int
    nodes: int
    model_bytes: int
    graph_bytes: int
    parts: tuple[Part, ...]
    tables: tuple[Table, ...]
    heads: tuple[DenseHead, ...]
    packed: dict[str, int]


def inspect_model(path: Path) -> Inspection:
    """Read an .onnx file (weights stay on disk).

    Raises:
        InputError: no ONNX model.
    """
    model = load_plain(path)
    parts = [
        Part(
            name,
            tuple(int(dim) for dim in tensor.shape.numpy()),
            tensor.dtype.name if (held := stored_as(value)) is None else held.form.split(",")[0],
            tensor.nbytes if held is None else held.nbytes,
            tuple(_label(node) for node, _ in value.uses()),
        )
        for name, value in model.graph.initializers.items()
        if (tensor := value.const_value) is not None
    ]
    parts.sort(key=lambda part: -part.nbytes)
    total = model_nbytes(path)
    return Inspection(
        opset=model.opset_imports.get("", 0),
        nodes=len(model.graph),
        model_bytes=total,
        graph_bytes=max(0, total - sum(part.nbytes for part in parts)),
        parts=tuple(parts),
        tables=tuple(
            Table(
                use.name,
                use.rows,
                use.width,
                use.nbytes,
                use.ids_input,
                tuple(_label(node) for node in use.gathers),
                tuple(_label(node) for node in use.others),
                use.form,
            )
            for use in find_tables(model.graph)
        ),
        heads=tuple(
            DenseHead(own.name, own.rows, own.width, own.nbytes, own.form)
            for own in find_own_heads(model.graph)
        ),
        packed={
            node.name or node.op_type: sum(
                value.const_value.nbytes
                for value in node.inputs
                if value is not None and value.const_value is not None
            )
            for node in model.graph
            if node.domain == DOMAIN
        },
    )


def without_packed(found: Inspection, manifest: Manifest) -> Inspection:
    """``found`` without the tables of stock operators that the manifest calls packed: those that
    are left hold what nobody made smaller."""
    names = {f"{table.name}.{PACKED}" for table in manifest.tables}
    return replace(found, tables=tuple(each for each in found.tables if each.name not in names))


def check_figures(manifest: Manifest, found: Inspection) -> None:
    """Whether a bundle's manifest says what is in its model: anyone may have written it.

    Raises:
        FormatError: the first figure that is not what was counted.
    """
    footprint = manifest.footprint
    held = {part.name: part.nbytes for part in found.parts}
    several = len(manifest.tables) > 1
    for name, told in footprint.by_part.items():
        full = name if several else f"{manifest.table}.{name}"
        _same(f"bytes of {full}", told, held.get(full, 0))
    sizes = [(table.rows, table.width) for table in manifest.tables]
    dense = 4 * sum(rows * width for rows, width in sizes or [(manifest.rows, manifest.width)])
    packed = sum(footprint.by_part.values())
    whole = found.model_bytes + sum(each.model_bytes for each in manifest.further)
    _same("dense_bytes", footprint.dense_bytes, dense)
    _same("embedding_bytes", footprint.embedding_bytes, packed)
    _same("ratio", footprint.ratio, dense / packed if packed else 0.0)
    _same("bits_per_parameter", footprint.bits_per_parameter, 32 * packed / dense)
    _same("model_bytes", footprint.model_bytes, whole)
    for head in manifest.heads:
        counted = sum(held.get(f"{head.name}.{part}", 0) for part in head.by_part)
        _same(f"bytes of {head.name}", head.bytes, counted)


def _same(name: str, told: float, counted: float) -> None:
    if not math.isclose(told, counted, rel_tol=1e-9):
        raise FormatError(
            f"the manifest says {name} {told:,}, counted are {counted:,}; it was altered, export "
            "the bundle again"
        )


def _label(node: ir.Node) -> str:
    return f"{node.op_type} {node.name}".strip()
