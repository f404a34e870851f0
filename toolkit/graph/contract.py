"""The operators that read a packed table: what nodes are called, on disk and in every runtime.

``ai.lighttoken::CompressedEmbedding`` takes ids and gives rows, ``ai.lighttoken::CompressedHead``
takes hidden states and gives logits. Each is a function of the model, with a body of standard
operators; a native kernel replaces the body where there is one. ``ai.lighttoken.weights`` has what
reads the weights beside the tables.

A model's second packed table has functions of its own, ``CompressedEmbedding2``: another layout is
another body. Functions of one name and several ``overload`` would be the standard's way, and
onnxruntime 1.31 knows them; but 1.20 and 1.22 take the last for all nodes, without a word.
"""

import re
from collections.abc import Iterable, Iterator

import onnx_ir as ir

DOMAIN = "ai.lighttoken"
VERSION = 1
WEIGHTS_DOMAIN = "ai.lighttoken.weights"  # functions of the weights beside the tables
TRELLIS = "TrellisProduct"  # of that domain: rows times the matrix that codes stand for
DECODING = "TrellisWeight"  # that matrix alone, which no native kernel makes
LOOKUP = "CompressedEmbedding"
HEAD = "CompressedHead"
MIN_OPSET = 13  # from here on Squeeze and friends take axes as inputs, as the bodies have them

# The tensors of a packed table are initializers called TABLE.NAME; these are the names.
CODES = re.compile(r"^(|.+\.)stages\.\d+\.codes$")
TENSOR = re.compile(r"^(mean|tail|signs|zeros|order\.\w+|gain\.\w+|lowrank\.\w+|stages\.\d+\.\w+)$")


def is_lookup(node: ir.Node) -> bool:
    """Whether it looks rows up in a packed table."""
    return node.domain == DOMAIN and without_number(node.op_type) == LOOKUP


def is_head(node: ir.Node) -> bool:
    """Whether it is an output head that reads a packed table."""
    return node.domain == DOMAIN and without_number(node.op_type) == HEAD


def is_packed(node: ir.Node) -> bool:
    """Whether it reads a packed table at all."""
    return node.domain == DOMAIN


def packed_tensors(graph: ir.Graph) -> set[ir.Value]:
    """The tensors of every packed table, those of an output head among them.

    Found by who reads them, and by their names: an inlined function leaves no node behind.
    """
    held = {value.name: value for value in stored_values(graph) if value.name}
    tables = {match.group(1) for match in map(CODES.match, held) if match}
    found = {
        value
        for name, value in held.items()
        for table in tables
        if name.startswith(table) and TENSOR.match(name[len(table) :])
    }
    for node in graph.all_nodes():
        if is_lookup(node) or is_head(node):
            found |= {value for value in node.inputs[1:] if value is not None}
    return found


def packed_head_tensors(graph: ir.Graph) -> set[ir.Value]:
    """Those of :func:`packed_tensors` that output heads alone read: a head's own matrix.

    Of an inlined head no node tells; nobody gathers from its codes, whose every row it goes over.
    """
    nodes = list(graph.all_nodes())
    read = {v for node in nodes if is_head(node) for v in node.inputs[1:] if v is not None}
    looked_up = {v for node in nodes if is_lookup(node) for v in node.inputs[1:] if v is not None}
    gathered = {node.inputs[0] for node in nodes if node.op_type == "Gather"}
    packed = packed_tensors(graph)
    inlined = packed - read - looked_up
    codes = {match.group(1) for v in inlined if v.name and (match := CODES.match(v.name))}
    tables = {
        match.group(1)
        for v in inlined & gathered
        if v.name is not None and (match := CODES.match(v.name))
    }
    alone = tuple(codes - tables)
    return (read - looked_up) | {v for v in inlined if v.name and v.name.startswith(alone)}


def stored_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value that is stored: initializers, and outputs of Constant nodes; branches' too."""
    for each in (graph, *graph.subgraphs()):
        yield from each.initializers.values()
    for node in graph.all_nodes():
        if node.op_type == "Constant" and not node.domain:
            yield from node.outputs


def without_number(op_type: str) -> str:
    """The operator's name without the number of a further table: ``CompressedEmbedding``."""
    return op_type.rstrip("0123456789")


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name`` for the first packed table of a model, ``name2`` for the second, and so on."""
    used = set(taken)
    number = 1
    while (each := name if number == 1 else f"{name}{number}") in used:
        number += 1
    return each
