import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toolkit.losses import direction_aware_loss

entry = st.floats(-100, 100, width=32)
pairs = hnp.arrays(
    "float64", st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 8)), elements=entry
)


def distance(x, y):
    return ((x - y) ** 2).sum(-1)


@given(pairs, st.floats(1, 6))
def test_it_bounds_the_squared_distance_from_above(pair, power):
    x, y = torch.from_numpy(pair)
    slack = 1e-5 * (1 + (x**2).sum(-1) + (y**2).sum(-1))
    assert (direction_aware_loss(x, y, power=power) >= distance(x, y) - slack).all()


@given(pairs)
def test_power_one_is_the_squared_distance(pair):
    x, y = torch.from_numpy(pair)
    scale = 1 + (x**2).sum(-1) + (y**2).sum(-1)
    error = (direction_aware_loss(x, y, power=1.0) - distance(x, y)).abs()
    assert (error <= 1e-5 * scale).all()


@given(pairs, st.floats(1, 6))
def test_equal_vectors_lose_nothing(pair, power):
    x = torch.from_numpy(pair[0])
    assume((x.norm(dim=-1) > 1e-3).all())
    loss = direction_aware_loss(x, x.clone(), power=power)
    assert (loss.abs() <= 1e-9 * (x**2).sum(-1)).all()


def test_a_wrong_angle_costs_more_than_an_equal_distance_in_length():
    x = torch.tensor([[1.0, 0.0]])
    longer, turned = torch.tensor([[1.5, 0.0]]), torch.tensor([[0.875, 0.484123]])
    assert torch.allclose(distance(x, longer), distance(x, turned), atol=1e-4)
    assert direction_aware_loss(x, turned) > direction_aware_loss(x, longer) + 0.1


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize(
    "output",
    [[0.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1e-20, 0.0]],
    ids=["zero", "opposite", "orthogonal", "equal", "tiny"],
)
@pytest.mark.parametrize("target", [[1.0, 0.0], [0.0, 0.0]], ids=["unit", "zero"])
def test_gradients_are_finite_everywhere(target, output, power):
    y = torch.tensor([output], requires_grad=True)
    direction_aware_loss(torch.tensor([target]), y, power=power).sum().backward()
    assert torch.isfinite(y.grad).all()
