import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolkit.refine import add_planes, fit_planes, quantise_columns, refine, search_codes

seeds = st.integers(0, 10_000)


def problem(seed, rows=40, bits=10, width=6):
    generator = torch.Generator().manual_seed(seed)
    signs = torch.where(torch.randn(rows, bits, generator=generator) > 0, 1.0, -1.0)
    decoder = torch.randn(bits, width, generator=generator)
    return signs, torch.randn(rows, width, generator=generator) * 2, decoder


def row_errors(signs, target, decoder):
    return ((target - signs @ decoder) ** 2).sum(1)


@given(seeds, st.integers(1, 20))
def test_the_search_never_raises_the_error_of_any_row(seed, flips):
    signs, target, decoder = problem(seed)
    before = row_errors(signs, target, decoder)
    search_codes(signs, target, decoder, flips)
    after = row_errors(signs, target, decoder)
    assert (after <= before * (1 + 1e-5) + 1e-5).all()
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}


@given(seeds)
def test_at_its_end_no_single_flip_helps(seed):
    signs, target, decoder = problem(seed)
    search_codes(signs, target, decoder, flips=200)
    errors = row_errors(signs, target, decoder)
    for bit in range(signs.shape[1]):
        flipped = signs.clone()
        flipped[:, bit] *= -1
        slack = 1e-4 * (1 + errors)
        assert (row_errors(flipped, target, decoder) >= errors - slack).all()


def test_one_flip_is_the_best_of_all_single_flips():
    signs, target, decoder = problem(3)
    candidates = [row_errors(signs, target, decoder)]
    for bit in range(signs.shape[1]):
        flipped = signs.clone()
        flipped[:, bit] *= -1
        candidates.append(row_errors(flipped, target, decoder))
    search_codes(signs, target, decoder, flips=1)
    best = torch.stack(candidates).amin(0)
    assert torch.allclose(row_errors(signs, target, decoder), best, rtol=1e-4, atol=1e-4)


def test_rows_of_every_block_are_searched():
    signs, target, decoder = problem(5, rows=2500)
    before = row_errors(signs, target, decoder)
    search_codes(signs, target, decoder, flips=4)
    gain = before - row_errors(signs, target, decoder)
    assert all(part.mean() > 0.5 for part in gain.split(1024))


def planes_sum(planes, like):
    total = torch.zeros_like(like)
    add_planes(total, planes, 1.0)
    return total


def left_by(planes, residual):
    return float(((residual - planes_sum(planes, residual)) ** 2).sum())


def greedy_error(residual, tiers):
    """Plane after plane, none ever fitted again."""
    left = residual.clone()
    for rows in tiers:
        magnitude = left[:rows].abs().mean(0)
        left[:rows] -= torch.where(left[:rows] > 0, 1.0, -1.0) * magnitude
    return float((left**2).sum())


@given(seeds, st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_planes_fitted_again_are_no_worse_than_greedy_ones(seed, tiers):
    tiers = tuple(sorted(tiers, reverse=True))
    residual = problem(seed)[1]
    error = left_by(fit_planes(residual.clone(), tiers, torch.ones(40)), residual)
    assert error <= greedy_error(residual, tiers) * (1 + 1e-5)
    assert error < float((residual**2).sum())


def test_planes_fitted_again_are_better_where_it_counts():
    residual = problem(0, rows=1000)[1]
    tiers = (1000, 1000, 500)
    error = left_by(fit_planes(residual.clone(), tiers, torch.ones(1000)), residual)
    assert error < 0.95 * greedy_error(residual, tiers)


def test_more_planes_leave_less():
    residual = problem(0, rows=1000)[1]
    errors = [
        left_by(fit_planes(residual.clone(), (1000,) * n, torch.ones(1000)), residual)
        for n in range(5)
    ]
    assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(errors))


def test_planes_cover_their_rows_only():
    residual = problem(0)[1]
    planes = fit_planes(residual.clone(), (30, 10), torch.ones(40))
    assert [tuple(plane.signs.shape) for plane in planes] == [(30, 6), (10, 6)]
    total = planes_sum(planes, residual)
    assert not total[30:].any()
    assert total[:30].all()


def test_one_plane_scales_by_the_mean_magnitude():
    residual = torch.tensor([[1.0, -4.0], [-3.0, 2.0]])
    (plane,) = fit_planes(residual.clone(), (2,), torch.tensor([1.0, 1.0]))
    assert plane.scale.tolist() == [2.0, 3.0]
    assert plane.signs.tolist() == [[1.0, -1.0], [-1.0, 1.0]]


@given(seeds, st.floats(1e-6, 1e6))
def test_quantised_columns_are_off_by_half_a_step_at_most(seed, size):
    decoder = problem(seed)[2] * size
    quantised = quantise_columns(decoder)
    assert quantised.weight.abs().max() == 127
    assert (quantised.weight == quantised.weight.round()).all()
    step = decoder.abs().amax(0) / 127
    assert ((quantised.dense() - decoder).abs() <= 0.5001 * step).all()


def test_a_zero_column_quantises_to_zero():
    quantised = quantise_columns(torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
    assert quantised.dense()[:, 0].tolist() == [0.0, 0.0]


def error_of(refined, target):
    output = refined.signs.float() @ refined.decoder.dense() + planes_sum(refined.planes, target)
    return float(((target - output) ** 2).sum())


def test_refinement_pays(small_table):
    target = torch.from_numpy(small_table - small_table.mean(0))
    signs = torch.where(target[:, :24] > 0, 1.0, -1.0)
    weights = torch.ones(len(target))

    def refined(rounds):
        return refine(target.clone(), signs.clone(), (300,), weights, rounds=rounds, flips=8)

    errors = [error_of(refined(rounds), target) for rounds in (0, 1, 6)]
    assert errors[0] > errors[1] > errors[2]


def test_no_rounds_leave_the_codes_alone():
    signs, target, _ = problem(1)
    start = signs.clone()
    refined = refine(target, signs, (), torch.ones(40), rounds=0, flips=4)
    assert torch.equal(refined.signs, start)
    assert refined.planes == ()


@pytest.mark.parametrize(("tiers", "told"), [((), 3), ((20,), 5)])
def test_every_round_is_told(tiers, told):
    signs, target, _ = problem(1)
    rounds = []
    refine(
        target, signs, tiers, torch.ones(40), rounds=3, flips=4, on_round=lambda: rounds.append(1)
    )
    assert np.sum(rounds) == told


def test_the_target_is_given_back():
    signs, target, _ = problem(1)
    before = target.clone()
    refine(target, signs, (20, 10), torch.ones(40), rounds=3, flips=4)
    assert torch.allclose(target, before, atol=1e-5)
