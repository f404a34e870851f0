"""Products of one input become one: nodes go, values stay to the last bit."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters.passes.merge_products import MergeProducts
from toolkit.rounding import round_to_nearest

K, GROUP = 32, 16


def product(name, source, outputs, rng, *, bias=False, half=False, **settings):
    """A MatMulNBits of ``source`` with random weights, and what it needs."""
    weight = round_to_nearest(rng.normal(size=(outputs, K)).astype(np.float32), group_size=GROUP)
    scales = weight.scales.reshape(-1).astype(np.float16 if half else np.float32)
    tensors = {f"{name}.packed": weight.packed(), f"{name}.scales": scales}
    if bias:
        tensors[f"{name}.bias"] = rng.normal(size=outputs).astype(np.float32)
    values = {
        key: ir.val(key, const_value=ir.tensor(array, name=key)) for key, array in tensors.items()
    }
    nodes, scale = [], values[f"{name}.scales"]
    if half:
        nodes.append(ir.node("Cast", [scale], {"to": ir.DataType.FLOAT}))
        scale = nodes[0].outputs[0]
    inputs = [source, values[f"{name}.packed"], scale]
    if bias:
        inputs += [None, None, values[f"{name}.bias"]]
    attributes = {"K": K, "N": outputs, "bits": 4, "block_size": GROUP, "accuracy_level": 4}
    node = ir.node("MatMulNBits", inputs, attributes | settings, domain="com.microsoft")
    node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(ir.DataType.FLOAT)
    return [*nodes, node], list(values.values())


def build(*asked, opset=18, shared=()):
    """A model whose outputs are these products, given as (name, input, outputs, settings).

    ``shared``: pairs of names; the first's weights become the second's.
    """
    rng = np.random.default_rng(0)
    kind = ir.TensorType(ir.DataType.FLOAT)
    inputs = {name: ir.val(name, type=kind, shape=ir.Shape(["tokens", K])) for name in ("x", "z")}
    nodes, initializers, outputs = [], [], []
    for name, source, size, settings in asked:
        more, values = product(name, inputs[source], size, rng, **settings)
        nodes, initializers = nodes + more, initializers + values
        outputs.append(more[-1].outputs[0])
    made = {value.name: value for value in initializers}
    for name, other in shared:
        (node,) = (node for node in nodes if node.outputs[0].name == name)
        for place, part in ((1, "packed"), (2, "scales")):
            node.replace_input_with(place, made[f"{other}.{part}"])
            initializers.remove(made[f"{name}.{part}"])
    graph = ir.Graph(
        list(inputs.values()),
        outputs,
        nodes=nodes,
        initializers=initializers,
        opset_imports={"": opset, "com.microsoft": 1},
        name="products",
    )
    return ir.Model(graph, ir_version=10)


def run(model):
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    feeds = {v.name: rng.normal(size=(3, K)).astype(np.float32) for v in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def count(model):
    return sum(node.op_type == "MatMulNBits" for node in model.graph)


@pytest.mark.parametrize("settings", [{}, {"half": True}, {"bias": True}])
def test_three_of_one_input_become_one(settings):
    asked = [("q", "x", 24, settings), ("k", "x", 8, settings), ("v", "x", 8, settings)]
    before, after = build(*asked), build(*asked)
    merge = MergeProducts()
    assert merge(after).modified
    assert (count(before), count(after), merge.count) == (3, 1, 3)
    wanted, found = run(before), run(after)
    assert list(wanted) == list(found) == ["q", "k", "v"]
    assert all(np.array_equal(wanted[name], found[name]) for name in wanted)
    held = [
        sum(v.const_value.nbytes for v in m.graph.initializers.values()) for m in (before, after)
    ]
    assert held[1] == held[0] + 3 * 8  # the sizes of the parts


@pytest.mark.parametrize(
    "other",
    [
        ("k", "z", 8, {}),
        ("k", "x", 8, {"accuracy_level": 1}),
        ("k", "x", 8, {"bias": True}),
        ("k", "x", 8, {"half": True}),
    ],
)
def test_products_that_differ_in_more_than_their_weights_stay(other):
    model = build(("q", "x", 24, {}), other)
    assert not MergeProducts()(model).modified
    assert count(model) == 2


def test_an_old_opset_stays():
    model = build(("q", "x", 24, {}), ("k", "x", 8, {}), opset=11)
    assert not MergeProducts()(model).modified


LAYERS = [
    (f"{part}{layer}", source, size, {})
    for layer, source in enumerate("xz")
    for part, size in (("q", 24), ("k", 8))
]


def test_matrices_that_layers_share_are_joined_once():
    """As ALBERT's are: one set of weights, read by every layer."""
    pairs = [("q1", "q0"), ("k1", "k0")]
    before, after = build(*LAYERS, shared=pairs), build(*LAYERS, shared=pairs)
    assert MergeProducts()(after).modified
    assert (count(before), count(after)) == (4, 2)
    wanted, found = run(before), run(after)
    assert all(np.array_equal(wanted[name], found[name]) for name in wanted)
    held = [
        sum(v.const_value.nbytes for v in m.graph.initializers.values()) for m in (before, after)
    ]
    assert held[1] == held[0] + 2 * 8


def test_a_matrix_that_is_read_elsewhere_too_stays():
    """Joined, it would be there twice."""
    model = build(*LAYERS, shared=[("q1", "q0")])
    assert not MergeProducts()(model).modified
    assert count(model) == 4
