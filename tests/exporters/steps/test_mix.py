"""A form for each weight: more bits where the outputs feel it, within the bytes there are."""

import numpy as np
import onnx_ir as ir
import pytest

from exporters.steps import mix
from exporters.steps.mix import Mix
from exporters.weights.calibration import Inputs
from toolkit.errors import BudgetError, InputError

INNER = 256


@pytest.fixture
def path(graph, tmp_path):
    """``loud`` decides the outputs, ``quiet`` adds next to nothing."""
    rng = np.random.default_rng(0)
    model = graph(
        "(int64[b, s] ids) => (float[b, s, 256] y)",
        "x = Gather(table, ids)\n a = MatMul(x, loud)\n b = MatMul(x, quiet)\n y = Add(a, b)",
        table=rng.normal(size=(300, INNER)).astype(np.float32),
        loud=rng.normal(size=(INNER, INNER)).astype(np.float32),
        quiet=rng.normal(size=(INNER, INNER)).astype(np.float32) * np.float32(1e-3),
    )
    ir.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def measured(path):
    inputs = Inputs(("ids",), np.ones(300))
    ids = np.arange(64).reshape(4, 16)
    weights = {v.name: v.const_value.numpy() for v in ir.load(path).graph.initializers.values()}
    wanted = weights["table"][ids] @ (weights["loud"] + weights["quiet"])

    def distance(session, fed):
        (found,) = session.run(None, {"ids": ids, **fed})
        return float(np.square(found - wanted).sum() / np.square(wanted).sum())

    found = Mix(path, frozenset({"table"}), inputs, distance)
    found.measure(lambda share, what: None)
    return found


def spend(budget):
    """A table's loss that falls with each byte left, and a refusal where none is."""

    def table(more):
        if more > budget:
            raise BudgetError("too many", 0)
        return 1e-6 * (1 - (budget - more) / 1e6)

    return table


def test_bits_go_where_they_are_felt(measured):
    forms = measured.choose(spend(measured.least + INNER * INNER // 3))
    order = list(mix._ERRORS)
    assert order.index(forms["loud"]) > order.index(forms["quiet"])
    assert forms["quiet"] == "trellis2"


def test_bytes_decide(measured):
    assert set(measured.choose(spend(measured.least)).values()) == {"trellis2"}
    assert measured.choose(spend(0))["loud"] == "int8"
    assert measured.least < -1.4 * INNER * INNER


def test_a_graph_without_weights_is_refused(graph, tmp_path):
    table = np.ones((300, 8), np.float32)
    model = graph("(int64[n] ids) => (float[n, 8] y)", "y = Gather(table, ids)", table=table)
    ir.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="no product with float32 weights"):
        Mix(tmp_path / "model.onnx", frozenset({"table"}), Inputs(("ids",), np.ones(300)), max)
