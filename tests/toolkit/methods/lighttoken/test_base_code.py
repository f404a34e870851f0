import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit.allocate.allocation import Subquantizer
from toolkit.methods.lighttoken.additive_codebooks import expand, halve
from toolkit.methods.lighttoken.base_code import (
    BaseCode,
    encode,
    fit_codebooks,
    fit_decoder,
    quantise_columns,
    refine,
    round_codebooks,
    search,
    start_code,
    subquantizer_columns,
    subquantizer_latents,
)

seeds = st.integers(0, 10_000)
some_parts = st.lists(
    st.builds(Subquantizer, st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=3
).map(tuple)
TWO = (Subquantizer(3, 2), Subquantizer(2, 3))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed=0, rows=40, width=6, subquantizers=TWO, additive=False):
    """A code with everything in it random, and a target that it does not fit."""
    random = generator(seed)
    groups, latents = (
        sum(p.groups for p in subquantizers),
        sum(p.groups * p.dimension for p in subquantizers),
    )
    code = BaseCode(
        subquantizers,
        torch.randint(0, 256, (rows, groups), generator=random).to(torch.uint8),
        [
            expand(torch.randn(32, subquantizer.dimension, generator=random))
            if additive
            else torch.randn(256, subquantizer.dimension, generator=random)
            for subquantizer in subquantizers
        ],
        torch.randn(latents, width, generator=random),
        (additive,) * len(subquantizers),
    )
    return code, 2 * torch.randn(rows, width, generator=random)


def copy_of(code):
    return replace(
        code,
        codes=code.codes.clone(),
        codebooks=list(code.codebooks),
        decoder=code.decoder.clone(),
    )


def are_sums(book):
    return torch.allclose(expand(halve(book)), book, atol=1e-4)


def latents_by_hand(code):
    rows = []
    for row in code.codes.tolist():
        values, column = [], 0
        for subquantizer, book in zip(code.subquantizers, code.codebooks, strict=True):
            for _ in range(subquantizer.groups):
                values += book[row[column]].tolist()
                column += 1
        rows.append(values)
    return torch.tensor(rows)


def row_errors(code, target):
    output = code.latents(slice(0, len(target))).double() @ code.decoder.double()
    return ((target - output) ** 2).sum(1)


def error(code, target, weights=None):
    errors = row_errors(code, target)
    return float((errors if weights is None else weights * errors).sum())


def gaussian(rows, width=16, seed=0):
    """Rows of a falling spectrum in a random basis."""
    spectrum = 1 / torch.sqrt(1.0 + torch.arange(width))
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator(1)))[0]
    return torch.randn(rows, width, generator=generator(seed)) * spectrum @ rotation


def started(target, subquantizers, seed=0, weights=None, additive=False):
    weights = torch.ones(len(target)) if weights is None else weights
    return start_code(target, weights, subquantizers, generator(seed), additive=additive)


@given(seeds, some_parts)
def test_latents_are_the_entries_side_by_side(seed, subquantizers):
    code, _ = problem(seed, subquantizers=subquantizers, rows=7)
    expected = latents_by_hand(code)
    assert torch.equal(code.latents(slice(0, 7)), expected)
    assert torch.equal(code.latents(slice(2, 5)), expected[2:5])


@given(some_parts)
def test_columns_and_latents_of_the_parts_follow_one_another(subquantizers):
    columns, latents = subquantizer_columns(subquantizers), subquantizer_latents(subquantizers)
    assert columns[0].start == latents[0].start == 0
    for subquantizer, column, latent in zip(subquantizers, columns, latents, strict=True):
        assert column.stop - column.start == subquantizer.groups
        assert latent.stop - latent.start == subquantizer.groups * subquantizer.dimension
    for places in (columns, latents):
        assert all(here.stop == after.start for here, after in itertools.pairwise(places))


@pytest.mark.parametrize("rows", [None, 10])
def test_what_the_code_stands_for_is_added_to_the_first_rows(rows):
    code, target = problem()
    before = target.clone()
    code.add_to(target, -0.5, rows)
    expected = before - 0.5 * latents_by_hand(code) @ code.decoder
    assert torch.allclose(target[:rows], expected[:rows], atol=1e-4)
    if rows:
        assert torch.equal(target[rows:], before[rows:])


# --- search


@given(seeds, some_parts, st.integers(1, 9), st.integers(1, 3))
def test_the_search_never_raises_the_error_of_any_row(seed, subquantizers, width, sweeps):
    code, target = problem(seed, subquantizers=subquantizers, width=width)
    before = row_errors(code, target)
    search(code, target, sweeps)
    assert (row_errors(code, target) <= before * (1 + 1e-4) + 1e-3).all()


def errors_of_every_byte(code, target, column):
    """Squared errors [n, 256] with each possible byte in a column, the others as they are."""
    tried = copy_of(code)
    found = []
    for byte in range(256):
        tried.codes[:, column] = byte
        found.append(row_errors(tried, target))
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_chooses_the_best_byte_of_256_column_by_column(seed):
    code, target = problem(seed, rows=30)
    by_hand = copy_of(code)
    for column in [*range(5), *range(5)]:
        by_hand.codes[:, column] = errors_of_every_byte(by_hand, target, column).argmin(1)
    search(code, target, sweeps=2)
    same = (code.codes == by_hand.codes).all(1)
    assert same.float().mean() > 0.9  # bytes as good as one another may part a row's ways


@settings(max_examples=15)
@given(seeds, some_parts, st.integers(1, 9), st.integers(1, 2))
def test_the_last_byte_chosen_is_the_best_of_256_given_the_others(
    seed, subquantizers, width, sweeps
):
    code, target = problem(seed, rows=12, subquantizers=subquantizers, width=width)
    search(code, target, sweeps)
    best = errors_of_every_byte(code, target, code.codes.shape[1] - 1).amin(1)
    assert torch.allclose(row_errors(code, target), best, rtol=1e-4, atol=1e-3)


def test_at_its_end_no_other_byte_helps():
    code, target = problem(3, rows=20)
    search(code, target, sweeps=30)
    own = row_errors(code, target)
    for column in range(code.codes.shape[1]):
        best = errors_of_every_byte(code, target, column).amin(1)
        assert (own <= best * (1 + 1e-4) + 1e-3).all()


def test_rows_of_every_block_are_searched_alike_on_any_number_of_threads():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            code, target = problem(5, rows=4500)
            start = row_errors(code, target)
            search(code, target)
            found.append(code.codes)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    share = row_errors(code, target) / start
    assert all(subquantizer.mean() < 0.2 for subquantizer in share.split(500))


def test_the_search_changes_codes_only():
    code, target = problem(2)
    before, wanted = copy_of(code), target.clone()
    search(code, target)
    assert torch.equal(target, wanted)
    assert torch.equal(code.decoder, before.decoder)
    assert all(map(torch.equal, code.codebooks, before.codebooks))


# --- decoder


@given(seeds, st.floats(1e-6, 1e6), some_parts)
def test_quantised_columns_are_off_by_half_a_step_at_most(seed, size, subquantizers):
    decoder = problem(seed, subquantizers=subquantizers)[0].decoder * size
    for (weight, scale), latents in zip(
        quantise_columns(decoder, subquantizers), subquantizer_latents(subquantizers), strict=True
    ):
        assert torch.equal(weight, weight.round())
        assert (weight.abs().amax(0) == 127).all()
        step = decoder[latents].abs().amax(0) / 127
        assert ((weight * scale - decoder[latents]).abs() <= 0.5001 * step).all()


def test_a_zero_column_quantises_to_zero():
    ((weight, scale),) = quantise_columns(
        torch.tensor([[0.0, 1.0], [0.0, -1.0]]), (Subquantizer(1, 2),)
    )
    assert (weight * scale).tolist() == [[0.0, 1.0], [0.0, -1.0]]


def best_decoder(code, target, weights):
    root = weights.double().sqrt()[:, None]
    latents = code.latents(slice(0, len(target))).double()
    return torch.linalg.lstsq(root * latents, root * target.double()).solution


@given(seeds)
def test_the_fitted_decoder_is_the_least_squares_one_as_int8_holds_it(seed):
    code, target = problem(seed, rows=300)
    weights = torch.rand(300, generator=generator(seed)) + 0.1
    best = best_decoder(code, target, weights)
    fit_decoder(code, target, weights)
    for latents in subquantizer_latents(code.subquantizers):
        step = best[latents].abs().amax(0) / 127
        shrunk = 1e-3 * best.abs().max()  # by the ridge
        assert ((code.decoder[latents] - best[latents]).abs() <= 0.51 * step + shrunk).all()
    exact = replace(code, decoder=best)
    assert error(code, target, weights) <= 1.002 * error(exact, target, weights)


def test_the_fitted_decoder_is_what_will_be_stored():
    code, target = problem(rows=300)
    fit_decoder(code, target, torch.ones(300))
    stored = [
        weight * scale for weight, scale in quantise_columns(code.decoder, code.subquantizers)
    ]
    assert torch.allclose(torch.cat(stored), code.decoder, rtol=1e-5, atol=0)


def test_the_decoder_that_made_the_rows_is_found_over_several_blocks():
    code, _ = problem(rows=9000)
    made = code.decoder.clone()
    target = code.latents(slice(0, 9000)) @ made
    fit_decoder(code, target, torch.ones(9000))
    assert torch.allclose(code.decoder, made, atol=0.02 * float(made.abs().max()))


def test_rows_of_weight_zero_do_not_count_in_the_decoder():
    code, _ = problem(rows=600)
    made = code.decoder.clone()
    target = code.latents(slice(0, 600)) @ made
    target[300:] = 100.0
    fit_decoder(code, target, (torch.arange(600) < 300).float())
    assert torch.allclose(code.decoder, made, atol=0.02 * float(made.abs().max()))


def test_bytes_that_never_vary_do_not_blow_up():
    code, target = problem()
    code.codes[:] = 7
    fit_decoder(code, target, torch.ones(40))
    assert torch.isfinite(code.decoder).all()
    assert error(code, target) < float((target**2).sum())


# --- codebooks


@settings(max_examples=40)
@given(seeds, some_parts, st.booleans())
def test_fitted_codebooks_lower_the_error_that_a_fitted_decoder_leaves(
    seed, subquantizers, additive
):
    code, target = problem(seed, rows=300, subquantizers=subquantizers, additive=additive)
    weights = torch.rand(300, generator=generator(seed)) + 0.1
    search(code, target)
    fit_decoder(code, target, weights)
    before, codes = error(code, target, weights), code.codes.clone()
    fit_codebooks(code, target, weights, generator())
    fit_decoder(code, target, weights)
    assert torch.equal(code.codes, codes)
    assert error(code, target, weights) < 1.001 * before  # but for int8
    for subquantizer, book in zip(code.subquantizers, code.codebooks, strict=True):
        assert book.shape == (256, subquantizer.dimension)
        assert float(book.pow(2).mean()) == pytest.approx(1, rel=1e-3)
        assert are_sums(book) == additive


@pytest.mark.parametrize("additive", [False, True])
def test_a_codebook_that_is_all_wrong_comes_back(additive):
    code, _ = problem(rows=6000, subquantizers=(Subquantizer(4, 2),), width=16, additive=additive)
    target = code.latents(slice(0, 6000)) @ code.decoder
    wrong = torch.randn(32 if additive else 256, 2, generator=generator(9))
    code.codebooks = [code.codebooks[0] + 0.5 * (expand(wrong) if additive else wrong)]
    fit_decoder(code, target, torch.ones(6000))
    wrong = error(code, target)
    fit_codebooks(code, target, torch.ones(6000), generator())
    fit_decoder(code, target, torch.ones(6000))
    assert error(code, target) < 0.02 * wrong


def test_rows_of_weight_zero_do_not_count_in_the_codebooks():
    weights = (torch.arange(600) < 300).float()
    found = []
    for junk in (0.0, 100.0):
        code, target = problem(rows=600)
        target[300:] += junk
        fit_codebooks(code, target, weights, generator())
        found.append(code.codebooks)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*found, strict=True))


@given(seeds, st.sampled_from([7, 63]))
def test_rounded_codebooks_are_integers_and_the_decoder_takes_their_step(seed, peak):
    code, _ = problem(seed)
    before = copy_of(code)
    round_codebooks(code, peak)
    for old, new, latents in zip(
        before.codebooks, code.codebooks, subquantizer_latents(code.subquantizers), strict=True
    ):
        assert torch.equal(new, new.round())
        assert new.abs().max() <= peak
        steps = code.decoder[latents] / before.decoder[latents]
        step = float(steps.median())
        assert torch.allclose(steps, torch.full_like(steps, step), rtol=1e-4)
        inside = old.abs() <= peak * step
        assert inside.float().mean() > 0.9
        assert ((new * step - old)[inside].abs() <= 0.501 * step).all()
    assert torch.equal(code.codes, before.codes)


@given(seeds, st.sampled_from([7, 63]))
def test_rounded_split_codebooks_are_sums_of_integers(seed, peak):
    code, _ = problem(seed, additive=True)
    before = copy_of(code)
    round_codebooks(code, peak)
    for old, new, latents in zip(
        before.codebooks, code.codebooks, subquantizer_latents(code.subquantizers), strict=True
    ):
        assert torch.equal(new, new.round())
        assert new.abs().max() <= peak
        assert is_additive(new)
        step = float((code.decoder[latents] / before.decoder[latents]).median())
        assert ((new * step - old).abs() <= 1.001 * step).float().mean() > 0.8  # others are cut


@pytest.mark.parametrize("additive", [False, True])
def test_rounding_costs_next_to_nothing(additive):
    target = gaussian(2000)
    code = started(target, TWO, additive=additive)
    before = error(code, target)
    round_codebooks(code, 63)
    assert error(code, target) < 1.02 * before


# --- all together


@settings(max_examples=20)
@given(seeds, some_parts, st.integers(1, 60), st.integers(1, 20))
def test_a_code_of_any_shape_is_started(seed, subquantizers, rows, width):
    target = torch.randn(rows, width, generator=generator(seed))
    assume(rows > 1)
    code = started(target, subquantizers, seed)
    assert code.subquantizers == subquantizers
    assert code.codes.dtype == torch.uint8
    assert code.codes.shape == (rows, sum(subquantizer.groups for subquantizer in subquantizers))
    assert code.decoder.shape == (
        sum(subquantizer.groups * subquantizer.dimension for subquantizer in subquantizers),
        width,
    )
    assert [book.shape for book in code.codebooks] == [
        (256, subquantizer.dimension) for subquantizer in subquantizers
    ]
    assert torch.isfinite(code.decoder).all()
    assert error(code, target) <= float((target**2).sum()) * (1 + 1e-4)


def test_split_codebooks_are_sums_but_that_of_a_byte_alone():
    target, subquantizers = (
        gaussian(1500),
        (Subquantizer(1, 4), Subquantizer(2, 3), Subquantizer(1, 1), Subquantizer(3, 2)),
    )
    code, plain = (started(target, subquantizers, additive=additive) for additive in (True, False))
    assert code.additive == (False, True, False, True)
    assert [are_sums(book) for book in code.codebooks] == [False, True, False, True]
    assert plain.additive == (False,) * 4
    assert not any(are_sums(book) for book in plain.codebooks)


def test_no_codebook_is_split_unless_that_is_said():
    code, _ = problem()
    assert BaseCode(code.subquantizers, code.codes, code.codebooks, code.decoder).additive == (
        False,
        False,
    )


def test_a_byte_for_one_value_of_one_row_is_started():
    code = started(torch.tensor([[1.0, 2.0]]), (Subquantizer(1, 1),))
    assert torch.isfinite(code.decoder).all()


def test_a_start_is_worth_more_the_more_bytes_it_has():
    target = gaussian(1500)
    codes = [
        (Subquantizer(1, 4),),
        (Subquantizer(2, 4),),
        (Subquantizer(4, 4),),
        (Subquantizer(8, 2),),
        (Subquantizer(16, 1),),
    ]
    errors = [error(started(target, subquantizers), target) for subquantizers in codes]
    assert all(later < 0.7 * earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.01 * float((target**2).sum())


def test_the_strong_directions_come_first():
    target = torch.randn(1500, 12, generator=generator())
    target[:, 5] *= 20
    code = started(target, (Subquantizer(1, 1),))
    left = target - code.latents(slice(0, 1500)) @ code.decoder
    assert float((left[:, 5] ** 2).mean()) < 1
    assert torch.allclose(left[:, :5], target[:, :5], atol=1.0)


def test_parts_beyond_the_directions_code_what_earlier_ones_leave():
    target = gaussian(1500, width=8)
    once = error(started(target, (Subquantizer(2, 4),)), target)
    twice = error(started(target, (Subquantizer(2, 4), Subquantizer(2, 4))), target)
    assert twice < 0.4 * once


def test_a_start_serves_heavy_rows_first():
    target = gaussian(1500)
    target[:100] = torch.randn(100, 16, generator=generator(5)) * torch.linspace(0.01, 2, 16)
    first = torch.where(torch.arange(1500) < 100, 1.0, 1e-3)
    errors = [
        float(row_errors(started(target, (Subquantizer(2, 2),), weights=w), target)[:100].sum())
        for w in (torch.ones(1500), first)
    ]
    assert errors[1] < 0.9 * errors[0]


def refined(
    target,
    rounds,
    *,
    subquantizers=TWO,
    learn_codebooks=True,
    on_round=lambda: None,
    additive=False,
):
    code = started(target, subquantizers, additive=additive)
    refine(
        code,
        target,
        torch.ones(len(target)),
        rounds=rounds,
        learn_codebooks=learn_codebooks,
        generator=generator(),
        on_round=on_round,
    )
    return code


MANY = (Subquantizer(3, 6),)  # more latents than directions: bytes say the same thing twice


@pytest.mark.parametrize(
    "subquantizers", [MANY, (Subquantizer(2, 8),), (Subquantizer(1, 4), Subquantizer(2, 6))]
)
def test_refinement_pays(subquantizers):
    target = gaussian(2000)
    errors = [
        error(refined(target, rounds, subquantizers=subquantizers), target)
        for rounds in (0, 1, 2, 8)
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.97 * errors[0]


def test_learning_codebooks_pays():
    target = gaussian(2000)
    learned, kept = (
        refined(target, 8, subquantizers=MANY, learn_codebooks=learn) for learn in (True, False)
    )
    assert error(learned, target) < 0.96 * error(kept, target)
    assert torch.equal(kept.codebooks[0], started(target, MANY).codebooks[0])


def test_split_codebooks_stay_sums_and_leave_little_more():
    target = gaussian(4000)
    subquantizers = (Subquantizer(1, 4), Subquantizer(2, 6))
    plain, additive = (
        refined(target, 8, subquantizers=subquantizers, additive=additive)
        for additive in (False, True)
    )
    assert [are_sums(book) for book in additive.codebooks] == [False, True]
    assert not torch.equal(
        additive.codebooks[1], started(target, subquantizers, additive=True).codebooks[1]
    )
    assert 1.01 < error(additive, target) / error(plain, target) < 1.12


def test_learning_split_codebooks_pays():
    target = gaussian(2000)
    learned, kept = (
        refined(target, 8, subquantizers=MANY, learn_codebooks=learn, additive=True)
        for learn in (True, False)
    )
    assert error(learned, target) < 0.99 * error(kept, target)


def test_every_round_is_told_and_no_rounds_change_nothing():
    target, told = gaussian(300), []
    refined(target, 3, on_round=lambda: told.append(1))
    assert np.sum(told) == 3
    start, same = started(target, TWO), refined(target, 0)
    assert torch.equal(start.codes, same.codes)
    assert torch.equal(start.decoder, same.decoder)


@pytest.mark.parametrize("additive", [False, True])
def test_new_rows_are_coded_nearly_as_well(additive):
    both = gaussian(12_000, seed=3)
    seen, new = both[:6000], both[6000:]
    code = refined(seen, 4, additive=additive)
    fresh = encode(new, code)
    assert fresh.subquantizers == code.subquantizers
    assert fresh.decoder is code.decoder
    assert fresh.additive == (additive, additive)
    assert error(fresh, new) < 1.5 * error(code, seen)  # without any search
    search(fresh, new, 4)
    assert error(fresh, new) < 1.08 * error(code, seen)


def test_rows_a_code_stands_for_exactly_are_read_back():
    code = started(gaussian(6000), (Subquantizer(2, 2), Subquantizer(3, 1)))
    again = encode(code.latents(slice(0, 6000)) @ code.decoder, code)
    search(again, code.latents(slice(0, 6000)) @ code.decoder, 2)
    assert (again.codes == code.codes).all(1).float().mean() > 0.9


def test_equal_seeds_give_equal_codes_and_others_do_not():
    target = gaussian(1500)
    first, again, other = (started(target, TWO, seed) for seed in (1, 1, 2))
    assert torch.equal(first.codes, again.codes)
    assert torch.equal(first.decoder, again.decoder)
    assert not torch.equal(first.codes, other.codes)


def test_the_target_is_left_alone():
    target = gaussian(500)
    before = target.clone()
    refined(target, 2)
    assert torch.equal(target, before)
