import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toolkit import PaperConfig
from toolkit.methods.lighttoken_paper.autoencoder import (
    BinaryAutoencoder,
    direction_aware_loss,
    least_squares,
    train_stages,
)

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


QUICK = PaperConfig(epochs=2, autoencoder_stages=3)


@pytest.fixture(scope="module")
def target(small_table):
    return torch.from_numpy(small_table)


def train(target, bits, config=QUICK, seed=0, on_epoch=lambda: None):
    residual = target - target.mean(0)
    weights = torch.ones(len(target))
    generator = torch.Generator().manual_seed(seed)
    codes, _, reports = train_stages(
        target.__getitem__, residual, bits, weights, config, generator, on_epoch
    )
    return codes, reports


def error(codes, target):
    residual = target - target.mean(0)
    return float(((residual - codes.float() @ least_squares(codes, residual)) ** 2).sum())


def test_codes_are_signs_and_the_stages_share_the_bits(target):
    codes, reports = train(target, 32)
    assert codes.shape == (len(target), 32)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert [report.bits for report in reports] == [11, 11, 10]


def test_stages_take_their_part_of_the_residual_away(target):
    residual = target - target.mean(0)
    before = float((residual**2).sum())
    generator = torch.Generator().manual_seed(0)
    train_stages(target.__getitem__, residual, 32, torch.ones(len(target)), QUICK, generator)
    assert float((residual**2).sum()) < 0.5 * before


def test_an_epoch_may_see_a_sample_only(target):
    config = dataclasses.replace(QUICK, epoch_rows=200)
    codes, _ = train(target, 32, config)
    assert len(codes) == len(target)
    whole = float(((target - target.mean(0)) ** 2).sum())
    assert error(codes, target) < 0.5 * whole


def test_every_stage_lowers_the_error(target):
    codes, reports = train(target, 48)
    edges = np.cumsum([report.bits for report in reports])
    errors = [error(codes[:, :edge], target) for edge in edges]
    whole = float(((target - target.mean(0)) ** 2).sum())
    assert whole > errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.09 * whole  # 0.12 if no stage knew what the others explain


def test_more_bits_than_columns_are_used(target):
    one_stage = dataclasses.replace(QUICK, autoencoder_stages=1)
    codes, _ = train(target, 64, one_stage)
    assert error(codes, target) < error(codes[:, :48], target)


def test_a_saturated_stage_stops_early(target):
    epochs = []
    config = dataclasses.replace(QUICK, epochs=5, saturation_limit=0.0, temperature=(0.01, 0.01))
    _, reports = train(target, 24, config, on_epoch=lambda: epochs.append(1))
    assert [report.epochs for report in reports] == [1, 1, 1]
    assert all(report.saturation > 0 for report in reports)
    assert len(epochs) == 3


def test_an_unsaturated_stage_runs_all_its_epochs(target):
    config = dataclasses.replace(QUICK, epochs=3, saturation_limit=1.0)
    _, reports = train(target, 24, config)
    assert [report.epochs for report in reports] == [3, 3, 3]


def test_equal_seeds_give_equal_codes_and_others_do_not(target):
    codes = [train(target, 24, seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_there_are_never_more_stages_than_bits(target):
    codes, reports = train(target, 2)
    assert [report.bits for report in reports] == [1, 1]
    assert codes.shape == (len(target), 2)


def test_hard_codes_are_the_soft_ones_rounded(target):
    residual = target - target.mean(0)
    model = BinaryAutoencoder(residual, 16, torch.Generator().manual_seed(0))
    soft = model.soft(residual, temperature=0.5)
    assert ((soft > 0) & (soft < 1)).all()
    assert torch.equal(model.hard(residual) > 0, soft > 0.5)


def test_the_starting_decoder_already_explains_something(target):
    residual = target - target.mean(0)
    model = BinaryAutoencoder(residual, 16, torch.Generator().manual_seed(0))
    output = model.decode((model.hard(residual) + 1) / 2)
    assert ((residual - output) ** 2).sum() < 0.8 * (residual**2).sum()


def test_least_squares_finds_the_decoder_that_made_the_rows():
    generator = torch.Generator().manual_seed(0)
    signs = torch.where(torch.randn(500, 8, generator=generator) > 0, 1.0, -1.0)
    decoder = torch.randn(8, 5, generator=generator)
    assert torch.allclose(least_squares(signs, signs @ decoder), decoder, atol=0.01)


def test_rows_of_weight_zero_do_not_count_in_least_squares():
    generator = torch.Generator().manual_seed(0)
    signs = torch.where(torch.randn(500, 8, generator=generator) > 0, 1.0, -1.0)
    decoder = torch.randn(8, 5, generator=generator)
    rows = signs @ decoder
    rows[250:] = 100.0
    weights = (torch.arange(500) < 250).float()
    assert torch.allclose(least_squares(signs, rows, weights), decoder, atol=0.01)


def test_bits_that_never_vary_do_not_blow_up():
    signs = torch.ones(20, 6)
    decoder = least_squares(signs, torch.randn(20, 3))
    assert torch.isfinite(decoder).all()
    assert decoder.abs().max() < 10
