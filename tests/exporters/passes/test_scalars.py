"""Numbers that a graph computes although they are fixed."""

import math

import numpy as np
import pytest

from exporters.passes.scalars import number, rank_of, width_of


@pytest.fixture
def value(graph):
    """The value ``v`` of a graph around x float [b, n, 12], and the graph that keeps it alive."""

    def build(body, **tensors):
        model = graph("(float[b, n, 12] x) => (float v)", body, **tensors)
        return model, next(o for node in model.graph for o in node.outputs if o.name == "v")

    return build


HEADS = """
    b = Constant<value_ints = [0]>() two = Constant<value_ints = [4]>()
    rest = Constant<value_ints = [-1]>()
    sizes = Shape(x) first = Gather(sizes, b) shape = Concat<axis = 0>(first, rest, two, three)
    split = Reshape(x, shape) heads = Transpose<perm = [0, 2, 1, 3]>(split) seen = Shape(heads)
"""


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("v = Constant<value_float = 0.5>()", 0.5),
        ("c = Constant<value_float = 16.0>() v = Sqrt(c)", 4.0),
        ("c = Constant<value_float = 4.0>() s = Sqrt(c) v = Div(c, s)", 2.0),
        (f"{HEADS} last = Constant<value_int = -1>() v = Gather(seen, last)", 3.0),
        (f"{HEADS} at = Constant<value_int = 1>() v = Gather(seen, at)", 4.0),
        (f"{HEADS} at = Constant<value_int = 2>() v = Gather(seen, at)", None),
        ("v = ReduceSum(x)", None),
    ],
)
def test_number(value, body, wanted):
    model, found = value(body, three=np.array([3]))
    assert number(found) == (None if wanted is None else pytest.approx(wanted))
    assert model is not None


def test_the_scale_of_an_attention(value):
    _, found = value(
        f"""{HEADS} last = Constant<value_int = -1>() size = Gather(seen, last)
        real = Cast<to = 1>(size) root = Sqrt(real) one = Constant<value_float = 1.0>()
        v = Div(one, root)""",
        three=np.array([3]),
    )
    assert number(found) == pytest.approx(1 / math.sqrt(3))


def test_width_and_rank(value):
    _, found = value("p = MatMul(x, w) v = Add(bias, p)", w=np.ones((12, 5)), bias=np.ones(5))
    assert width_of(found) == 5
    _, found = value(f"{HEADS} v = Identity(heads)", three=np.array([3]))
    assert rank_of(found.producer().inputs[0]) == 4
