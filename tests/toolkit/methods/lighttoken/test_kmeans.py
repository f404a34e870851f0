import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit.methods.lighttoken.additive_codebooks import expand, halve
from toolkit.methods.lighttoken.kmeans import ENTRIES, as_integers, kmeans, nearest, recentre

seeds = st.integers(0, 10_000)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(values, seed=0, **options):
    return kmeans(values, torch.Generator().manual_seed(seed), **options)


def error(values, centres):
    return float(((values - centres[nearest(values, centres).long()]) ** 2).sum())


@given(seeds, st.integers(1, 30), st.integers(1, 9))
def test_nearest_is_nearest(seed, rows, k):
    values, centres = normal(rows, k, seed=seed), normal(ENTRIES, k, seed=seed + 1)
    chosen = nearest(values, centres)
    assert chosen.dtype == torch.uint8
    distances = torch.cdist(values.double(), centres.double()) ** 2
    picked = distances[torch.arange(rows), chosen.long()]
    assert (picked <= distances.amin(1) + 1e-4).all()


def test_rows_of_every_block_find_their_centre_with_any_number_of_threads():
    values, centres = normal(10_000, 3), normal(ENTRIES, 3, seed=1)
    expected = torch.cdist(values, centres).argmin(1)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(nearest(values, centres))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(again, found[0]) for again in found)
    assert (found[0].long() == expected).float().mean() > 0.999  # but for ties of rounding


@given(seeds, st.integers(1, 300), st.integers(1, 6))
def test_a_centre_moves_to_the_mean_of_its_vectors_and_stays_without_any(seed, rows, k):
    values, centres = normal(rows, k, seed=seed), normal(ENTRIES, k, seed=seed + 1)
    chosen = (normal(rows, seed=seed + 2).abs() * 50).clamp_max(255).to(torch.uint8)
    moved = recentre(values, chosen, centres)
    for entry in range(ENTRIES):
        own = values[chosen == entry]
        expected = own.mean(0) if len(own) else centres[entry]
        assert torch.allclose(moved[entry], expected, atol=1e-5)


@given(seeds, st.integers(1, 200), st.integers(1, 20), st.integers(1, 9))
def test_with_fewer_distinct_vectors_than_centres_all_are_exact(seed, rows, distinct, k):
    few = normal(distinct, k, seed=seed)
    values = few[torch.arange(rows) % distinct]
    centres = fitted(values, seed)
    assert centres.shape == (ENTRIES, k)
    assert torch.isfinite(centres).all()
    assert error(values, centres) <= 1e-9 * float((values**2).sum()) + 1e-12


@given(seeds, st.integers(1, 300), st.integers(1, 6))
def test_split_centres_move_to_where_sums_leave_least(seed, rows, k):
    values, centres = normal(rows, k, seed=seed), expand(normal(32, k, seed=seed + 1))
    chosen = nearest(values, centres)
    moved = recentre(values, chosen, centres, additive=True)
    assert torch.allclose(expand(halve(moved)), moved, atol=1e-4)
    place = torch.nn.functional.one_hot(chosen.long(), ENTRIES).double()
    to_entries = torch.stack([expand(unit[:, None]).flatten() for unit in torch.eye(32).double()])
    design = place @ to_entries.T
    best = design @ torch.linalg.lstsq(design, values.double(), driver="gelsd").solution
    least = float(((values - best) ** 2).sum())
    assert float(((values - moved[chosen.long()]) ** 2).sum()) <= 1.0001 * least + 1e-6


@given(seeds, st.integers(1, 16), st.integers(1, 9), st.floats(0, 2))
def test_sixteen_vectors_are_sums_exactly(seed, rows, k, shift):
    values = normal(rows, k, seed=seed) + shift
    centres = fitted(values, seed, additive=True)
    assert centres.shape == (ENTRIES, k)
    assert error(values, centres) <= 1e-6 * float((values**2).sum())  # but for ties of rounding


@given(seeds, st.integers(1, 300), st.integers(1, 40), st.integers(1, 9))
def test_split_centres_serve_few_distinct_vectors(seed, rows, distinct, k):
    values = normal(distinct, k, seed=seed)[torch.arange(rows) % distinct]
    centres = fitted(values, seed, additive=True)
    assert torch.isfinite(centres).all()
    assert error(values, centres) <= 0.25 * float((values**2).sum())


@pytest.mark.parametrize(("k", "most"), [(2, 1.3), (4, 1.15), (8, 1.11)])
def test_split_centres_are_sums_and_leave_little_more(k, most):
    values = normal(20_000, k)
    centres = fitted(values, additive=True)
    assert torch.allclose(expand(halve(centres)), centres, atol=1e-4)
    free = fitted(values)
    assert not torch.allclose(expand(halve(free)), free, atol=0.1)
    assert 1.05 < error(values, centres) / error(values, free) < most


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize(("rows", "k"), [(3000, 1), (3000, 4), (40_000, 2)])
def test_rounds_lower_the_error(rows, k, additive):
    values = normal(rows, k)
    errors = [
        error(values, fitted(values, rounds=rounds, additive=additive)) for rounds in (0, 1, 12)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.9 * errors[0]


def test_one_value_to_a_byte_is_nearly_a_uniform_quantiser():
    values = torch.linspace(0, 1, 20_000)[:, None]
    step = 1 / ENTRIES
    least = len(values) * step**2 / 12
    assert least * 0.9 < error(values, fitted(values)) < 2.5 * least


@pytest.mark.parametrize("additive", [False, True])
def test_equal_seeds_give_equal_centres_and_others_do_not(additive):
    values = normal(2000, 3)
    first, again, other = (fitted(values, seed, additive=additive) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_centres_serve_values_that_were_not_in_the_sample():
    values = normal(100_000, 2)
    centres = fitted(values)
    assert error(values, centres) < 0.012 * float((values**2).sum())


@pytest.mark.parametrize("additive", [False, True])
def test_the_values_are_left_alone(additive):
    values = normal(500, 3)
    before = values.clone()
    fitted(values, additive=additive)
    assert torch.equal(values, before)


def rounding_error(centres, counts, whole, step):
    return float((counts[:, None] * (whole * step - centres) ** 2).sum())


@given(seeds, st.integers(1, 9), st.sampled_from([7, 63]), st.floats(1e-6, 1e6))
def test_integers_are_no_worse_than_those_that_cut_nothing(seed, k, peak, size):
    centres, counts = normal(ENTRIES, k, seed=seed) * size, normal(ENTRIES, seed=seed + 1).abs()
    whole, step = as_integers(centres, counts, peak)
    assert torch.equal(whole, whole.round())
    assert whole.abs().max() <= peak
    plain_step = centres.abs().max() / peak
    plain = rounding_error(centres, counts, torch.round(centres / plain_step), plain_step)
    assert rounding_error(centres, counts, whole, step) <= plain * 1.02


@given(seeds, st.integers(1, 9), st.sampled_from([7, 63]), st.floats(1e-6, 1e6), st.floats(0, 5))
def test_integers_of_split_centres_are_sums_and_no_worse(seed, k, peak, size, lower):
    halves, counts = normal(32, k, seed=seed), normal(ENTRIES, seed=seed + 1).abs()
    halves[16:] *= lower
    centres = expand(halves) * size
    whole, step = as_integers(centres, counts, peak, additive=True)
    assert torch.equal(whole, whole.round())
    assert whole.abs().max() <= peak
    assert is_additive(whole)
    # Each of the two roundings is off by half a step at most, and so is what does not fit.
    most = counts.sum() * k * (centres.abs().max() / peak * 1.5) ** 2
    assert rounding_error(centres, counts, whole, step) <= most


def test_integers_of_split_centres_are_nearly_as_good_as_of_free_ones():
    values = normal(20_000, 8)
    centres = fitted(values, additive=True)
    counts = torch.bincount(nearest(values, centres).long(), minlength=ENTRIES)
    whole, step = as_integers(centres, counts, 63, additive=True)
    assert error(values, whole * step) < 1.005 * error(values, centres)


def test_an_entry_far_out_that_hardly_anything_chooses_is_cut():
    centres, counts = normal(ENTRIES, 4), torch.full((ENTRIES,), 100.0)
    centres[17], counts[17] = 100.0, 0.0
    whole, step = as_integers(centres, counts, 63)
    plain_step = centres.abs().max() / 63
    plain = rounding_error(centres, counts, torch.round(centres / plain_step), plain_step)
    assert rounding_error(centres, counts, whole, step) < 0.1 * plain
    counts[17] = 1e6
    kept, step = as_integers(centres, counts, 63)
    assert torch.allclose(kept[17] * step, centres[17], rtol=0.01)


def test_halves_far_out_that_hardly_anything_chooses_are_cut():
    halves, counts = normal(32, 4), torch.full((ENTRIES,), 100.0)
    halves[3] = 100.0
    counts[3 * 16 : 4 * 16] = 0.0
    centres = expand(halves)
    whole, step = as_integers(centres, counts, 63, additive=True)
    assert step < 0.2 * centres.abs().max() / 63
    assert is_additive(whole)
    assert whole.abs().max() == 63


@pytest.mark.parametrize("additive", [False, True])
def test_zeros_are_integers_already(additive):
    whole, step = as_integers(torch.zeros(ENTRIES, 3), torch.ones(ENTRIES), 63, additive=additive)
    assert not whole.any()
    assert torch.isfinite(step)
