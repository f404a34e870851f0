"""Graphs that would keep whoever follows them for ever, or become a billion nodes."""

import onnx
import pytest

from toolkit.errors import InputError
from toolkit.graph import order
from toolkit.graph.load import load_graph

HEAD = '<ir_version: 9, opset_import: ["" : 18, "f" : 1]>'


def load(tmp_path, body, functions=""):
    signature = "g (int64[n] ids, bool c) => (float[n,4] y) <float[2,4] t = {1,2,3,4,5,6,7,8}>"
    model = onnx.parser.parse_model(f"{HEAD} {signature} {{ {body} }} {functions}")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    return load_graph(tmp_path / "model.onnx")


def function(name, body):
    return f'<domain: "f", opset_import: ["" : 18, "f" : 1]> {name} (x) => (y) {{ {body} }}'


def refused(tmp_path, match, *parts):
    with pytest.raises(InputError, match=match) as error:
        load(tmp_path, *parts)
    assert "\n" not in str(error.value)


def test_in_any_order_a_graph_without_a_circle_is_whole(tmp_path):
    both = function("twice", "y = Add (x, x)")
    assert len(load(tmp_path, "y = Identity (a)  a = f.twice (b)  b = Gather (t, ids)", both).graph)
    long = " ".join(f"a{n + 1} = Identity (a{n})" for n in range(5000))
    assert load(tmp_path, f"a0 = Gather (t, ids) {long} y = Identity (a5000)")


@pytest.mark.parametrize(
    "body",
    [
        "b = Gather (t, ids)  a = Add (b, a)  y = Identity (a)",
        "b = Add (d, d)  d = Identity (b)  y = Gather (t, ids)",
        "y = If (c) <then_branch = k () => (float[n,4] p) { p = Identity (y) },"
        " else_branch = e () => (float[n,4] q) { q = Gather (t, ids) }>",
    ],
)
def test_a_value_that_is_made_of_itself(tmp_path, body):
    refused(tmp_path, "reads what is made of its own outputs", body)


@pytest.mark.parametrize(
    "functions",
    [
        function("a", "y = f.a (x)"),
        function("a", "y = f.b (x)") + function("b", "y = f.a (x)"),
    ],
)
def test_a_function_that_calls_itself(tmp_path, functions):
    refused(tmp_path, "its function a calls itself", "r = Gather (t, ids)  y = f.a (r)", functions)


def test_functions_that_become_a_billion_nodes(tmp_path):
    parts = [function(f"a{n}", f"m = f.a{n + 1} (x)  y = f.a{n + 1} (m)") for n in range(30)]
    parts.append(function("a30", "y = Identity (x)"))
    body = "r = Gather (t, ids)  y = f.a0 (r)"
    refused(tmp_path, f"has more than {order.MOST_NODES:,} nodes", body, "".join(parts))


def test_functions_that_call_one_another_very_deeply(tmp_path):
    parts = [function(f"a{n}", f"y = f.a{n + 1} (x)") for n in range(3000)]
    parts.append(function("a3000", "y = Identity (x)"))
    refused(tmp_path, "model", "r = Gather (t, ids)  y = f.a0 (r)", "".join(parts))
