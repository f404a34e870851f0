import onnx
import onnx_ir as ir
import pytest

from toolkit.errors import InputError
from toolkit.graph.load import load_graph

GRAPH = """
    <ir_version: 9, opset_import: ["" : 18, "com.microsoft" : 1, "f" : 1]>
    g (int64[b,s] ids, float[b,s,4] x, bool c) => (float[b,s,4] y, float[b,s,4] z)
    <float[2,4] table = {1, 2, 3, 4, 5, 6, 7, 8}>
    {
        rows = Gather <axis = 0> (table, ids)
        y = f.twice (rows)
        more = Cast <to = 1> (c)
        z = If (c) <then_branch = t () => (float[b,s,4] a) { a = Add (x, rows) },
                    else_branch = e () => (float[b,s,4] a) { a = Clip (x, , more) }>
        blocks = com.microsoft.GatherBlockQuantized (table, ids, table)
        other = com.microsoft.Unheard (table)
    }
    <domain: "f", opset_import: ["" : 18]>
    twice (x) => (y) { y = Add (x, x) }
"""


def remove_input(of, at):
    def change(model):
        node = next(one for one in nodes(model) if one.op_type == of)
        del node.input[at:]

    return change


def empty_input(of, at):
    def change(model):
        next(one for one in nodes(model) if one.op_type == of).input[at] = ""

    return change


def rename_input(of, at):
    def change(model):
        next(one for one in nodes(model) if one.op_type == of).input[at] = "nowhere"

    return change


def float_axis(model):
    attribute = model.graph.node[0].attribute[0]
    attribute.CopyFrom(onnx.helper.make_attribute("axis", 1.0))


def no_attribute(model):
    del next(one for one in nodes(model) if one.op_type == "Cast").attribute[:]


def nodes(model):
    yield from model.graph.node
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from attribute.g.node
    for function in model.functions:
        yield from function.node


@pytest.fixture
def saved(tmp_path):
    def save(change=lambda model: None):
        model = onnx.parser.parse_model(GRAPH)
        change(model)
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return save


def test_whole_model(saved):
    assert isinstance(load_graph(saved()), ir.Model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (remove_input("Gather", 1), "Gather .* has no input 1"),
        (empty_input("Gather", 0), "Gather .* has no input 0"),
        (remove_input("Add", 1), "Add .* has no input 1"),
        (remove_input("GatherBlockQuantized", 2), "GatherBlockQuantized .* has no input 2"),
        (rename_input("Gather", 1), "reads nowhere, which is not in the file"),
        (float_axis, "attribute axis that is FLOAT, not INT"),
        (no_attribute, "Cast .* has no attribute to"),
    ],
)
def test_node_without_what_it_needs(saved, change, said):
    with pytest.raises(InputError, match=said) as info:
        load_graph(saved(change))
    assert "\n" not in str(info.value)


def test_node_of_a_function(saved):
    def change(model):
        del model.functions[0].node[0].input[1:]

    with pytest.raises(InputError, match=r"Add .* has no input 1"):
        load_graph(saved(change))
