"""Facts are as onnxruntime gave them for bundles on QNN's emulator, XNNPACK and the CPU; the graphs
under them are small ones of the same kind.
"""

import io
import re

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper
from rich.console import Console

from exporters.ops.lookup import decode_model
from runtime.profile.placement.advice import FallbackNode, advise
from runtime.profile.placement.advice_rules import FREE, RULES
from runtime.profile.placement.placement import place_nodes
from runtime.profile.report.placement_terminal import render_placement
from toolkit.cli.export import command
from toolkit.errors import InputError

QNN, CPU, XNNPACK = "QNNExecutionProvider", "CPUExecutionProvider", "XnnpackExecutionProvider"
WEBGPU = "WebGpuExecutionProvider"

DECODE = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int32[b,4] ids, float[b,4,3] more) => (float[b,4,3] y)
    {
      bytes = Gather(codes, ids)
      rows = Cast<to = 1>(bytes)
      sums = Add(rows, more)
      parts = Softmax(sums)
      y = Mul(parts, sums)
    }"""
SHAPES = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[b,s,6] x) => (float[b,s,2,3] y)
    {
      shape = Shape<start = 0, end = 2>(x)
      whole = Concat<axis = 0>(shape, width)
      wide = Reshape(x, whole)
      y = Relu(wide)
    }"""
POSITIONS = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[b,s,3] x) => (float[b,s,3] y)
    {
      n = Shape<start = 1, end = 2>(x)
      end = Squeeze(n)
      all = Range(zero, end, one)
      places = Gather(table, all)
      y = Add(x, places)
    }"""
CHAIN = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y)
    { a = Relu(x) b = Exp(a) c = Tanh(b) y = Sqrt(c) }"""


@pytest.fixture
def write(tmp_path):
    def build(graph, **tensors):
        model = onnx.parser.parse_model(graph)
        for name, array in tensors.items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        for node in model.graph.node:
            node.name = node.op_type
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return build


@pytest.fixture
def decode(write):
    return write(DECODE, codes=np.arange(30, dtype=np.uint8).reshape(10, 3))


def entry(provider, *operators):
    return [provider, [[name, "", name] for name in operators]]


def sizes(placement, provider):
    islands = [one for one in placement.islands if one.provider == provider]
    return [sum(one.operators.values()) for one in islands]


CUT = {"assigned": [entry(QNN, "Cast", "Add", "Softmax", "Mul"), entry(CPU, "Gather")]}


def test_a_look_up_of_bytes_cuts_the_graph_and_is_told_as_ordinary(decode):
    placement = place_nodes(decode, CUT, "qnn", dimensions={"b": 2})
    assert placement.wanted == QNN
    assert placement.source == "assigned"
    assert placement.nodes[CPU] == {"Gather": 1}
    assert placement.fallback == {"Gather": 1}
    assert (sizes(placement, QNN), sizes(placement, CPU)) == ([4], [1])
    assert (placement.crossing_tensors, placement.crossing_bytes) == (1, 2 * 4 * 3)
    assert placement.crossing_unsized == placement.unmatched == placement.untold == 0
    (line,) = placement.advice
    assert line.startswith("1 Gather of bytes")


def test_free_shapes_leave_sizes_unknown_and_are_advised_against(decode):
    placement = place_nodes(decode, CUT, "qnn")
    assert (placement.crossing_tensors, placement.crossing_unsized) == (1, 1)
    assert "--target qnn --batch 1 --sequence N" in placement.advice[0]


def test_a_value_read_twice_on_one_side_crosses_once(decode):
    facts = {"assigned": [entry(QNN, "Gather", "Cast", "Add"), entry(CPU, "Softmax", "Mul")]}
    assert place_nodes(decode, facts, "qnn").crossing_tensors == 1
    facts = {"assigned": [entry(QNN, "Gather", "Cast", "Add", "Mul"), entry(CPU, "Softmax")]}
    assert place_nodes(decode, facts, "qnn").crossing_tensors == 2  # there and back


def test_shape_arithmetic_on_the_cpu_is_no_cut(write):
    model = write(SHAPES, width=np.array([2, 3]))
    facts = {"assigned": [entry(CPU, "Shape", "Concat"), entry(WEBGPU, "Reshape", "Relu")]}
    placement = place_nodes(model, facts, "webgpu")
    assert placement.shape_nodes == 2
    assert placement.fallback == {}
    assert placement.crossing_tensors == 0
    assert placement.advice == ()
    assert [(one.provider, one.shapes_only) for one in placement.islands] == [
        (CPU, True),
        (WEBGPU, False),
    ]


def test_positions_from_a_shape_are_rows_and_no_shape_arithmetic(write):
    table = np.ones((9, 3), np.float32)
    model = write(POSITIONS, table=table, zero=np.array(0), one=np.array(1))
    shapes = entry(CPU, "Shape", "Squeeze", "Range")
    told = {"assigned": [shapes, entry(CPU, "Gather"), entry(WEBGPU, "Add")]}
    placement = place_nodes(model, told, "webgpu")
    assert placement.shape_nodes == 3
    assert placement.fallback == {"Gather": 1}
    assert placement.crossing_tensors == 1


def test_shapes_that_the_provider_takes_are_nodes_as_others(write):
    model = write(SHAPES, width=np.array([2, 3]))
    facts = {"assigned": [entry(WEBGPU, "Shape", "Concat", "Reshape", "Relu")]}
    placement = place_nodes(model, facts, "webgpu")
    assert sizes(placement, WEBGPU) == [4]
    assert placement.shape_nodes == 0


def test_what_a_provider_compiles_together_is_one_island(write):
    model = write(CHAIN)
    facts = {"assigned": [entry(QNN, "Relu", "Exp"), entry(QNN, "Tanh", "Sqrt")]}
    assert sizes(place_nodes(model, facts, "qnn"), QNN) == [2, 2]
    facts = {"assigned": [entry(QNN, "Relu", "Tanh"), entry(CPU, "Exp"), entry(CPU, "Sqrt")]}
    placement = place_nodes(model, facts, "qnn")
    assert (sizes(placement, QNN), sizes(placement, CPU)) == ([2], [1, 1])


def test_the_cpus_neighbours_are_one_island_though_told_one_by_one(write):
    facts = {"assigned": [entry(CPU, name) for name in ("Relu", "Exp", "Tanh", "Sqrt")]}
    placement = place_nodes(write(CHAIN), facts, "arm64")
    assert sizes(placement, CPU) == [4]
    assert placement.advice == ()


def test_nodes_by_other_names_are_counted_and_told(write):
    told = entry(QNN, "Relu", "Exp", "Sqrt")
    told[1].append(["Transpose", "", "Transpose_token_78"])  # which the provider put in
    placement = place_nodes(write(CHAIN), {"assigned": [told]}, "qnn")
    assert (placement.unmatched, placement.untold) == (1, 1)
    assert placement.nodes == {QNN: {"Relu": 1, "Exp": 1, "Sqrt": 1, "Transpose": 1}}
    assert sizes(placement, QNN) == [4]  # Tanh with its neighbours


def test_a_profile_alone_places_what_the_cpu_fused(decode):
    rows = [[CPU, "Gather", "Gather", 5.0], [CPU, "Cast", "Cast", 3.0]]
    rows += [[XNNPACK, "Softmax", "Softmax", 14.0], [CPU, "SkipAdd", "SkipAdd_token_66", 9.0]]
    placement = place_nodes(decode, {"profiled": rows}, "xnnpack", dimensions={"b": 1})
    assert placement.source == "profiled"
    assert {node.name: node.provider for node in placement.details} == {
        "Gather": CPU,
        "Cast": CPU,
        "Add": CPU,
        "Softmax": XNNPACK,
        "Mul": CPU,
    }
    assert placement.crossing_tensors == 2
    assert placement.details[0].microseconds == 5.0
    assert placement.details[0].types == ("uint8", "int32")


def test_a_profile_of_a_compiling_provider_tells_no_islands(decode):
    rows = [[CPU, "Gather", "Gather", 5.0], [QNN, "QNN_1_0", "QNN_1_0_0", 70.0]]
    placement = place_nodes(decode, {"profiled": rows}, "qnn")
    assert placement.islands == ()
    assert placement.crossing_tensors is None
    assert placement.nodes[QNN] == {"QNN_1_0": 1}


def test_a_provider_of_kernels_is_cut_within_one_entry(write):
    """A browser's log has one entry a provider, whatever lies between its nodes."""
    told = [entry(WEBGPU, "Relu", "Tanh", "Sqrt"), entry(CPU, "Exp")]
    placement = place_nodes(write(CHAIN), {"assigned": told}, "webgpu")
    assert sizes(placement, WEBGPU) == [2, 1]
    assert placement.crossing_tensors == 2


def test_where_one_provider_took_all_its_count_is_enough(write):
    facts = {"counts": {CPU: 3}}  # after fusions
    placement = place_nodes(write(CHAIN), facts, "wasm")
    assert placement.source == "counted"
    assert placement.nodes == {CPU: {"Relu": 1, "Exp": 1, "Tanh": 1, "Sqrt": 1}}
    assert sizes(placement, CPU) == [4]
    with pytest.raises(InputError, match="reported no nodes"):
        place_nodes(write(CHAIN), {"counts": {CPU: 1, WEBGPU: 3}}, "webgpu")


def test_what_a_bundle_ordinarily_leaves_to_the_cpu_in_a_browser():
    """As onnxruntime-web 1.30 left it, of an int4 body's positions and of a decode in integers."""
    (line,) = advise(
        WEBGPU, [FallbackNode("Gather", ("int8", "int64")), FallbackNode("Cast", ("int8",))]
    )
    assert "ordinary" in line
    wrong = [FallbackNode("MatMulInteger", ("uint8", "int8", "uint8"))]
    wrong.append(FallbackNode("Where", ("bool", "uint8", "uint8")))
    (line,) = advise(WEBGPU, wrong)
    assert "--target webgpu" in line


def test_the_browsers_older_provider_is_webgpu_too(write):
    facts = {"assigned": [entry("JsExecutionProvider", "Relu", "Exp", "Tanh", "Sqrt")]}
    assert place_nodes(write(CHAIN), facts, "webgpu").fallback == {}


def test_without_facts_or_a_graph_it_says_what_to_do(write, tmp_path):
    with pytest.raises(InputError, match=r"reported no nodes.*1\.24"):
        place_nodes(write(CHAIN), {"assigned": []}, "qnn")
    with pytest.raises(InputError, match=r"\.ort file"):
        place_nodes(tmp_path / "model.ort", CUT, "qnn")


def test_a_sessions_own_assignment_names_every_node(small_embedding, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(decode_model(small_embedding).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(path, options, providers=[CPU])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this onnxruntime does not tell")
    told = [
        [part.ep_name, [[node.op_type, node.domain, node.name] for node in part.get_nodes()]]
        for part in session.get_provider_graph_assignment_info()
    ]
    placement = place_nodes(path, {"assigned": told}, "cpu")
    assert placement.unmatched == placement.untold == 0
    assert len(placement.details) == sum(len(nodes) for _, nodes in told) > 10


def test_what_is_shown_is_short_and_has_nodes_on_demand(decode):
    placement = place_nodes(decode, CUT, "qnn", dimensions={"b": 2})

    def shown(**kwargs):
        console = Console(width=120, file=io.StringIO())
        console.print(render_placement(placement, **kwargs))
        return console.file.getvalue()

    text = shown()
    assert re.search(r"QNN +│ +4 │", text)
    assert "1 island on QNN (1 x 4 nodes), 1 elsewhere" in text
    assert "1 tensor between providers, 24 bytes a call" in text
    assert "- 1 Gather of bytes" in text
    assert "uint8, int32" not in text
    assert "uint8, int32" in shown(nodes=True)


def test_advice_names_options_that_there_are():
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    lines = [*(rule.line for rule in RULES), *FREE.values()]
    named = {name for line in lines for name in re.findall(r"--[a-z-]+", line)}
    assert named
    assert named <= options


def test_every_rule_can_be_met():
    for rule in RULES:
        provider = (rule.providers or ("OtherExecutionProvider",))[0]
        operator = (rule.operators or ("Other",))[-1]
        node = FallbackNode(operator, tuple(rule.types), rule.reason)
        (line,) = advise(provider, [node])
        assert line == rule.line.format(count=1, operators=f"1 {operator}")


def test_what_is_not_in_the_table_is_told_so_and_most_nodes_come_first():
    fallen = [FallbackNode("Strange"), *[FallbackNode("Gather", ("uint8", "int32"))] * 3]
    first, last = advise(QNN, fallen)
    assert first.startswith("3 Gather of bytes")
    assert last.startswith("1 Strange: left to the CPU")
