"""A function that goes into a bundle has no node, input or constant that nobody reads."""

import itertools

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.ops.head import build_head_graph
from exporters.ops.lookup import build_decode_graph
from toolkit import CompressedEmbedding


def unread(graph):
    """Inputs and outputs of nodes that nothing in the graph reads, branches and loops included."""
    bodies = [
        attribute.as_graph()
        for node in graph.all_nodes()
        for attribute in node.attributes.values()
        if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.GRAPH
    ]
    kept = {id(value) for each in (graph, *bodies) for value in each.outputs}
    held = [value for node in graph.all_nodes() for value in node.outputs]
    held += [*graph.inputs]
    return [value.name for value in held if not value.uses() and id(value) not in kept]


@settings(max_examples=60)
@given(
    embedding=st.from_type(CompressedEmbedding),
    opset=st.sampled_from([13, 18, 23]),
    floats=st.booleans(),
    transposed=st.booleans(),
)
def test_a_lookup_reads_all_that_it_has(embedding, opset, floats, transposed):
    layer = build_decode_graph(embedding, opset=opset, floats=floats, column_major=transposed)
    assert unread(layer.function) == []


@settings(max_examples=60)
@given(embedding=st.from_type(CompressedEmbedding), opset=st.sampled_from([13, 18, 23]))
def test_a_head_reads_all_that_it_has(embedding, opset):
    assert unread(build_head_graph(embedding, opset=opset).function) == []


@pytest.mark.parametrize("floats", [False, True])
def test_constants_are_made_once_a_use(pack_table, floats):
    """No two nodes of a stage make the same thing from the same inputs, but for constants."""
    embedding = pack_table(90, 8, dense=[(90, 6, 3)], columns=[(40, 8)], block=9, gained=30)
    function = build_decode_graph(embedding, opset=18, floats=floats).function
    made = [
        (node.op_type, *(value.name for value in node.inputs if value is not None))
        for node in function.all_nodes()
        if node.op_type not in ("Constant", "Cast", "Less", "Sub", "Unsqueeze")
    ]
    doubled = [key for key, group in itertools.groupby(sorted(made)) if len(list(group)) > 1]
    assert doubled == []
