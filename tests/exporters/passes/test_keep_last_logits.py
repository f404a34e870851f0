import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from exporters.passes.keep_last_logits import KeepLastLogits
from toolkit.bundle.feeds import LOGITS_TO_KEEP

ROWS, WIDTH = 11, 6


def decoder(*tail, output="logits", rank=3, product="MatMul"):
    """Hidden states by a matrix, then the operators of ``tail``, to the logits."""
    rng = np.random.default_rng(0)
    free = ["batch", "sequence", WIDTH][3 - rank :]
    names = ["product", *(f"value{index}" for index in range(len(tail)))]
    nodes = [helper.make_node(product, ["hidden", "weight"], [names[0]], "head")]
    for index, op_type in enumerate(tail):
        more = ["half"] if op_type in ("Mul", "Div") else []
        nodes.append(helper.make_node(op_type, [names[index], *more], [names[index + 1]]))
    nodes[-1].output[0] = output
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*free[:-1], ROWS])],
        [
            onnx.numpy_helper.from_array(rng.normal(size=(WIDTH, ROWS)).astype("f4"), "weight"),
            onnx.numpy_helper.from_array(np.float32(0.5), "half"),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def session(model):
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("tail", [(), ("Identity",), ("Div", "Tanh", "Mul")])
def test_the_last_logits_are_those_of_the_whole(tail):
    model = decoder(*tail)
    before = session(decoder(*tail))
    assert KeepLastLogits()(model).modified
    after = session(model)
    hidden = np.random.default_rng(1).normal(size=(2, 5, WIDTH)).astype("f4")
    (whole,) = before.run(None, {"hidden": hidden})
    assert [value.name for value in after.get_inputs()] == ["hidden"]  # it need not be given
    assert np.array_equal(after.run(None, {"hidden": hidden})[0], whole)
    for keep in (1, 3, 5, 9):
        feeds = {"hidden": hidden, LOGITS_TO_KEEP: np.array(keep, np.int64)}
        (some,) = after.run(None, feeds)
        assert np.allclose(some, whole[:, -keep:], atol=1e-6)
        assert some.shape == (2, min(keep, 5), ROWS)


def test_where_defaults_are_refused_it_must_be_given():
    model = decoder()
    assert KeepLastLogits(optional=False)(model).modified
    found = session(model)
    assert [value.name for value in found.get_inputs()] == ["hidden", LOGITS_TO_KEEP]
    hidden = np.random.default_rng(1).normal(size=(2, 5, WIDTH)).astype("f4")
    whole, last = (
        found.run(None, {"hidden": hidden, LOGITS_TO_KEEP: np.array(keep, np.int64)})[0]
        for keep in (0, 1)
    )
    assert whole.shape == (2, 5, ROWS)
    assert np.allclose(last, whole[:, -1:], atol=1e-6)


def test_a_second_time_changes_nothing():
    model = decoder()
    assert KeepLastLogits()(model).modified
    assert not KeepLastLogits()(model).modified


@pytest.mark.parametrize(
    ("graph", "reasons"),
    [
        (lambda: decoder(output="scores"), []),
        (lambda: decoder(rank=2), ["MatMul head: reads hidden states of 2 dimensions, not 3"]),
        (lambda: decoder("Softmax"), ["Softmax .*: makes the logits and is no product"]),
    ],
)
def test_other_graphs_are_left_alone(graph, reasons):
    import re

    model, again = graph(), graph()
    found = KeepLastLogits()
    assert not found(model).modified
    assert len(found.mismatches) == len(reasons)
    assert all(re.match(r, m) for r, m in zip(reasons, found.mismatches, strict=True))
    assert ir.to_proto(model) == ir.to_proto(again)
