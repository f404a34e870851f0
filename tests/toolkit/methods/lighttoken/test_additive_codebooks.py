import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit.methods.lighttoken.additive_codebooks import (
    HALF,
    as_integers,
    collapse,
    expand,
    fit,
    halve,
)

ENTRIES = HALF**2
seeds, values = st.integers(0, 10_000), st.integers(1, 9)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(*shape, peak, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(-peak, peak + 1, shape, generator=random)


def test_entry_16_h_plus_l_is_upper_h_plus_lower_l():
    halves = torch.cat([100 * torch.arange(16)[:, None], torch.arange(16)[:, None]])
    book = expand(halves)
    assert book.shape == (ENTRIES, 1)
    assert book[16 * 3 + 5].item() == 305
    assert book[16 * 15 + 2].item() == 1502


@given(seeds, values)
def test_halves_of_a_codebook_make_it_again(seed, k):
    halves = whole(2 * HALF, k, peak=30, seed=seed)
    found = halve(expand(halves))
    assert found.shape == halves.shape
    assert torch.equal(expand(found), expand(halves))
    moved = found - halves  # what all upper ones have more, all lower ones have less
    assert torch.equal(moved[:HALF], halves[HALF].expand(HALF, k))
    assert torch.equal(moved[HALF:], -halves[HALF].expand(HALF, k))


@given(seeds, values)
def test_collapse_is_the_adjoint_of_expand(seed, k):
    gradient, halves = normal(ENTRIES, k, seed=seed), normal(2 * HALF, k, seed=seed + 1)
    collapsed = collapse(gradient.double())
    assert collapsed.shape == halves.shape
    product = (gradient.double() * expand(halves.double())).sum(0)
    assert torch.allclose(product, (collapsed * halves).sum(0))


@given(seeds, values, st.integers(0, ENTRIES - 1))
def test_a_codebook_with_one_entry_off_is_not_split(seed, k, entry):
    book = expand(whole(2 * HALF, k, peak=31, seed=seed))
    for kind in (torch.float32, torch.int8):
        assert is_additive(book.to(kind))
        wrong = book.to(kind)
        wrong[entry, k - 1] += 1
        assert not is_additive(wrong)


# --- fit


def least_squares(wanted, power):
    """The best codebook [256, k] by numpy, one value of the k at a time, and its error."""
    entry = np.arange(ENTRIES)
    design = np.eye(2 * HALF)[entry // HALF] + np.eye(2 * HALF)[HALF + entry % HALF]
    book, error = np.empty(wanted.shape), 0.0
    for j in range(wanted.shape[1]):
        root = np.sqrt(power[:, min(j, power.shape[1] - 1)].double().numpy())
        goal = np.divide(wanted[:, j].numpy(), root, out=np.zeros(ENTRIES), where=root > 0)
        halves = np.linalg.lstsq(root[:, None] * design, goal, rcond=None)[0]
        book[:, j] = design @ halves
        error += float(((root * book[:, j] - goal) ** 2).sum())
    return book, error


def error_left(book, wanted, power):
    mean = wanted / power.clamp_min(1e-30)
    return float((power * (book.double() - mean.double()) ** 2).sum())


def fitting(seed, k, shared, chosen):
    """A problem in which a share of the entries is chosen, one weight a value or one for all."""
    power = normal(ENTRIES, 1 if shared else k, seed=seed).abs() + 0.01
    power *= torch.rand(ENTRIES, generator=torch.Generator().manual_seed(seed))[:, None] < chosen
    return power * normal(ENTRIES, k, seed=seed + 1), power, expand(normal(32, k, seed=seed + 2))


@given(seeds, values, st.booleans(), st.sampled_from([0.05, 0.3, 1.0]), st.floats(1e-6, 1e6))
def test_a_fit_leaves_the_least_weighted_error(seed, k, shared, chosen, size):
    wanted, power, old = fitting(seed, k, shared, chosen)
    found = fit(size * wanted, size * power, old)
    assert found.shape == (ENTRIES, k)
    assert found.dtype == torch.float32
    assert torch.allclose(expand(halve(found)), found, atol=1e-4)
    best, error = least_squares(wanted, power)
    assert error_left(found, wanted, power) <= 1.0001 * error + 1e-6
    if chosen == 1:  # the least error has one codebook only
        assert np.abs(found.numpy() - best).max() < 1e-3


@given(seeds, values)
def test_one_weight_for_all_values_is_equal_weights(seed, k):
    wanted, power, old = fitting(seed, k, shared=True, chosen=0.5)
    plain = fit(wanted, power.expand(ENTRIES, k), old)
    assert torch.allclose(fit(wanted, power, old), plain, atol=1e-5)


@given(seeds, values, st.booleans())
def test_halves_that_no_one_chose_stay(seed, k, shared):
    wanted, power, old = fitting(seed, k, shared, chosen=1.0)
    square = torch.arange(ENTRIES).reshape(HALF, HALF)
    unused = torch.cat([square[5], square[:, 9]])
    wanted[unused], power[unused] = 0.0, 0.0
    moved = fit(wanted, power, old) - old
    assert moved[square[5, 9]].abs().max() < 1e-6
    assert torch.allclose(moved[square[5]] + moved[square[3, 9]], moved[square[3]], atol=1e-5)
    assert moved[square[3, 4]].abs().max() > 1e-3


@given(seeds, values, st.booleans())
def test_a_codebook_that_no_one_chose_stays(seed, k, shared):
    wanted, power, old = fitting(seed, k, shared, chosen=0.0)
    assert torch.equal(fit(wanted, power, old), old)


def test_weights_of_very_different_sizes_are_all_served():
    """Two entries that share no half with the rest, of next to no weight."""
    target, power = torch.zeros(ENTRIES, 1), torch.zeros(ENTRIES, 1)
    square = torch.arange(ENTRIES).reshape(HALF, HALF)
    power[square[:8, :8].flatten()] = 1.0
    target[square[9, 9]], power[square[9, 9]] = 3.0, 1e-6
    found = fit(power * target, power, torch.zeros(ENTRIES, 1))
    assert found[square[9, 9]].item() == pytest.approx(3.0, rel=1e-3)
    assert found[square[:8, :8].flatten()].abs().max() < 1e-6


@given(seeds, values)
def test_the_best_codebook_stays(seed, k):
    wanted, power, _ = fitting(seed, k, shared=False, chosen=0.2)
    best = torch.from_numpy(least_squares(wanted, power)[0]).float()
    assert torch.allclose(fit(wanted, power, best), best, atol=1e-3)


# --- integers


@given(
    seeds,
    values,
    st.sampled_from([7, 63]),
    st.floats(0.05, 3.0),
    st.floats(0.0, 50.0),
    st.floats(0.0, 5.0),
)
def test_integers_are_sums_of_halves_within_their_peak(seed, k, peak, share, lower, shift):
    halves = normal(2 * HALF, k, seed=seed)
    halves[HALF:] *= lower
    book = expand(halves) + shift
    step = share * book.abs().max() / peak  # below 1 some have to be cut
    found = as_integers(book, step, peak)
    assert torch.equal(found, found.round())
    assert found.abs().max() <= peak
    assert is_additive(found)


@given(seeds, values, st.sampled_from([7, 63]), st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e4]))
def test_integers_that_need_not_be_cut_are_off_by_one_step_at_most(seed, k, peak, lower):
    halves = normal(2 * HALF, k, seed=seed)
    halves[HALF:] *= lower
    halves[:HALF] -= (halves[:HALF].amax(0) + halves[:HALF].amin(0)) / 2
    book = expand(halves)
    book -= (book.amax(0) + book.amin(0)) / 2
    step = book.abs().max() / (peak - 1)  # one for what two roundings may add
    found = as_integers(book, step, peak)
    assert ((found * step - book).abs() <= 1.001 * step).all()


@pytest.mark.parametrize("first", [True, False], ids=["upper", "lower"])
def test_one_of_the_halves_may_need_the_whole_range(first):
    """Cut to half of it, an eighth of the energy and more would be lost."""
    line, none = torch.linspace(-1, 1, HALF)[:, None], torch.zeros(HALF, 1)
    book = expand(torch.cat([line, none] if first else [none, line]))
    found = as_integers(book, torch.tensor(1 / 63), 63)
    assert found.abs().max() == 63
    assert (found / 63 - book).abs().max() < 0.51 / 63


def test_beyond_its_range_each_half_keeps_its_share():
    halves = 60 * torch.ones(2 * HALF, 1)
    halves[::2] *= -1
    found = halve(as_integers(expand(halves), torch.tensor(1.0), 63))
    spread = [
        (subquantizer.amax() - subquantizer.amin()).item()
        for subquantizer in (found[:HALF], found[HALF:])
    ]
    assert spread == [64, 62]


@given(seeds, values)
def test_integers_are_their_own(seed, k):
    book = expand(whole(2 * HALF, k, peak=31, seed=seed)).float()
    assume(book.abs().max() > 0)
    found = as_integers(book, torch.tensor(1.0), 63)
    assert ((found - book).abs() <= 1).all()  # a middle between two integers moves both halves
    assert torch.equal(as_integers(found, torch.tensor(1.0), 63), found)
