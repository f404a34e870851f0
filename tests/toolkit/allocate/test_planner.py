import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toolkit.allocate.allocation import STAGE_COLUMNS, Subquantizer, allocation_nbytes
from toolkit.allocate.budget import Budget
from toolkit.allocate.candidates import BYTE_ERROR, JOINT_GAIN, Spectrum
from toolkit.allocate.importance import zipf_prior
from toolkit.allocate.planner import plan_allocation
from toolkit.allocate.row_counts import STACK_ERROR, STAGE_ERROR
from toolkit.errors import BudgetError


def spectrum(width, decay=1.0, **options):
    variances = 1.0 / (1 + np.arange(width)) ** decay
    return Spectrum(variances, float(variances.sum()), **options)


def even(rows):
    return np.full(rows, 1 / rows)


def only_the_first(rows):
    return np.eye(1, rows)[0]


def steep(rows):
    weights = 1.0 / (1 + np.arange(rows))
    return weights / weights.sum()


def plan(rows, width, budget, *, prior=zipf_prior, spectra=None, block=0, **options):
    budget = Budget(max_bytes=budget) if isinstance(budget, int) else budget
    spectra = spectra or [spectrum(width)]
    return plan_allocation(spectra, [(block, prior(rows))], budget, **options)


def nbytes_of(allocation, rows, width):
    shape = {name: value for name, value in vars(allocation).items() if name not in NO_SHAPE}
    return allocation_nbytes(rows, width, **shape)


NO_SHAPE = ("nbytes", "expected_error")


@settings(max_examples=60)
@given(
    rows=st.integers(1, 3000),
    width=st.integers(1, 100),
    max_bytes=st.integers(1, 250_000),
    block=st.sampled_from([0, 64]),
    decay=st.sampled_from([0.0, 1.0, 8.0]),
    prior=st.sampled_from([zipf_prior, even, only_the_first, steep]),
    most_stages=st.integers(0, 6),
    gain=st.booleans(),
)
def test_a_layout_keeps_within_the_budget_and_its_own_bounds(
    rows, width, max_bytes, block, decay, prior, most_stages, gain
):
    spectra = [spectrum(width, decay, gain=gain)]
    try:
        allocation = plan(
            rows,
            width,
            max_bytes,
            prior=prior,
            spectra=spectra,
            block=block,
            most_stages=most_stages,
        )
    except BudgetError as error:
        nearest = int(re.search(r"is ([\d,]+) bytes", str(error))[1].replace(",", ""))
        assert nearest > max_bytes or gain
        return
    assert allocation.nbytes <= max_bytes
    assert allocation.nbytes == nbytes_of(allocation, rows, width)
    assert allocation.block == block
    assert allocation.gain == gain
    assert allocation.subquantizers or allocation.row_counts or allocation.columns
    assert not (allocation.subquantizers and allocation.columns)
    assert len(allocation.subquantizers) <= 2
    assert all(
        subquantizer.groups >= 1 and subquantizer.dimension >= 1
        for subquantizer in allocation.subquantizers
    )
    assert len(allocation.row_counts) <= most_stages
    assert 1 <= allocation.covered <= rows
    assert all(allocation.covered >= n >= 1 for n in allocation.row_counts)
    assert list(allocation.row_counts) == sorted(allocation.row_counts, reverse=True)
    assert 0 <= allocation.expected_error <= 1 + 1e-9


@settings(max_examples=25)
@given(rows=st.integers(1, 800), width=st.integers(1, 60), prior=st.sampled_from([even, steep]))
def test_the_nearest_that_is_named_can_be_had_and_nothing_smaller(rows, width, prior):
    with pytest.raises(BudgetError) as failure:
        plan(rows, width, 1, prior=prior)
    message = str(failure.value)
    assert "\n" not in message
    nearest = int(re.search(r"is ([\d,]+) bytes", message)[1].replace(",", ""))
    plan(rows, width, nearest, prior=prior)
    ratio = re.search(r"ratio ([\d.]+)$", message)
    if ratio is None:
        assert nearest > 4 * rows * width
    else:
        plan(rows, width, Budget(ratio=float(ratio[1])), prior=prior)


def test_the_nearest_that_is_named_can_be_had_with_a_gain():
    spectra = [spectrum(48, gain=True)]
    with pytest.raises(BudgetError) as failure:
        plan(707, 48, Budget(ratio=1000), spectra=spectra)
    ratio = float(re.search(r"ratio ([\d.]+)$", str(failure.value))[1])
    plan(707, 48, Budget(ratio=ratio), spectra=spectra)


def test_a_table_too_small_to_shrink_is_told_so():
    with pytest.raises(BudgetError, match="more than the table itself"):
        plan(10, 4, Budget(ratio=1))


@settings(max_examples=8)
@given(
    rows=st.integers(1, 3000),
    width=st.integers(1, 100),
    prior=st.sampled_from([zipf_prior, even, steep]),
    decay=st.sampled_from([0.0, 1.0, 3.0]),
    gain=st.booleans(),
)
def test_more_bytes_never_promise_more_error(rows, width, prior, decay, gain):
    errors = []
    for size in np.geomspace(1000, 190_000, 12).astype(int):
        try:
            spectra = [spectrum(width, decay, gain=gain)]
            allocation = plan(rows, width, int(size), prior=prior, spectra=spectra)
        except BudgetError:
            assert not errors  # what fits a budget fits a larger one
            continue
        errors.append(allocation.expected_error)
    assert all(later <= earlier * 1.01 for earlier, later in itertools.pairwise(errors))


def test_many_more_bytes_promise_much_less_error():
    errors = [plan(3000, 96, size).expected_error for size in range(20_000, 300_000, 20_000)]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.02 * errors[0]


@settings(max_examples=25)
@given(
    rows=st.integers(50, 3000),
    width=st.integers(1, 40),
    max_bytes=st.integers(2000, 60_000),
    decay=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_no_code_of_one_part_is_better_than_the_plan(rows, width, max_bytes, decay):
    one = spectrum(width, decay)
    try:
        allocation = plan(rows, width, max_bytes, prior=even, spectra=[one])
    except BudgetError:
        assume(False)
    for groups, k in itertools.product(range(1, 41), BYTE_ERROR):
        if groups * k >= width + k:
            continue
        shape = replace(
            allocation,
            subquantizers=(Subquantizer(groups, k),),
            covered=rows,
            row_counts=(),
            columns=0,
        )
        # A second part has scales and a header of its own, which the choice between codes neglects.
        if nbytes_of(shape, rows, width) + 8 * width + 400 <= max_bytes:
            coded = one.variances[: groups * k].sum()
            error = JOINT_GAIN * BYTE_ERROR[k] * coded + one.total - coded
            assert allocation.expected_error <= 1.01 * error / one.total


def test_strong_directions_have_fewer_values_to_a_byte():
    allocation = plan(20_000, 64, Budget(ratio=16), most_stages=0)
    sizes = [subquantizer.dimension for subquantizer in allocation.subquantizers]
    assert len(sizes) == 2
    assert sizes[0] < sizes[1]


def test_one_giant_direction_has_a_byte_that_says_it_closely():
    variances = np.ones(64)
    variances[40] = 1e9  # in no order
    allocation = plan(
        5000, 64, Budget(ratio=12), spectra=[Spectrum(variances, float(variances.sum()))]
    )
    assert allocation.subquantizers[0].dimension == 1
    assert allocation.expected_error < 1e-3


def test_equal_variances_need_no_decoder_where_it_is_dear():
    """A code of the columns themselves stores no rows of a decoder."""
    allocation = plan(600, 256, Budget(ratio=12), spectra=[spectrum(256, 0.0)], prior=even)
    assert allocation.columns
    assert not allocation.subquantizers


def test_frequent_rows_get_tiers_where_weights_are_skewed():
    skewed = plan(5000, 64, Budget(ratio=16), prior=steep)
    assert len(skewed.row_counts) > 1
    assert skewed.row_counts[-1] < 500
    alike = plan(5000, 64, Budget(ratio=16), prior=even)
    assert len(alike.row_counts) <= 1
    assert skewed.expected_error < 0.6 * alike.expected_error


@pytest.mark.parametrize("prior", [zipf_prior, steep])
def test_without_tiers_all_rows_are_treated_alike(prior):
    allocation = plan(5000, 64, Budget(ratio=16), prior=prior, most_stages=0)
    assert allocation.row_counts == ()
    assert allocation.subquantizers
    assert allocation.covered == 5000
    assert allocation == plan(5000, 64, Budget(ratio=16), prior=even, most_stages=0)
    assert len(plan(5000, 64, Budget(ratio=4), prior=steep, most_stages=1).row_counts) == 1


def test_rows_of_equal_weight_use_up_the_budget():
    weights = np.where(np.arange(5000) < 2500, 200.0, 1.0)
    weights /= weights.sum()
    for size in range(50_000, 90_000, 4_000):
        allocation = plan(5000, 64, size, prior=lambda _: weights)
        assert allocation.nbytes > 0.98 * size


@pytest.mark.parametrize("ratio", [12, 16, 24])
def test_no_two_tiers_are_better_than_those_chosen(ratio):
    rows, width, prior = 4000, 64, steep
    allocation = plan(rows, width, Budget(ratio=ratio), prior=prior, most_stages=2)
    assert len(allocation.row_counts) == 2
    cumulative = np.append(0, np.cumsum(prior(rows)))

    def share_left(outer, inner):
        covered = [1 - cumulative[outer], cumulative[outer] - cumulative[inner], cumulative[inner]]
        return np.dot(STAGE_ERROR[:3], covered)

    chosen = share_left(*(*allocation.row_counts, 0)[:2])
    for outer in range(1, rows, 41):
        for inner in range(0, outer, 17):
            row_counts = (outer, inner) if inner else (outer,)
            if (
                nbytes_of(replace(allocation, row_counts=row_counts), rows, width)
                > allocation.nbytes
            ):
                break
            assert chosen <= share_left(outer, inner) * 1.002


def tailed(rows, unused, rest=0.0):
    def prior(_):
        weights = np.where(np.arange(rows) < rows - unused, 1.0, rest)
        return weights / weights.sum()

    return prior


@pytest.mark.parametrize("prior", [tailed(2000, 700), tailed(2000, 700, rest=1e-6)])
def test_rows_next_to_never_used_are_a_tail(prior):
    allocation = plan(2000, 32, Budget(ratio=12), prior=prior)
    assert allocation.covered == 1300
    assert max(allocation.row_counts, default=0) <= 1300
    assert allocation.expected_error < plan(2000, 32, Budget(ratio=12), prior=even).expected_error


@pytest.mark.parametrize(
    "prior",
    [tailed(2000, 32), tailed(2000, 700, rest=0.5), even, zipf_prior],
    ids=["shorter than a vector", "used half as much", "even", "zipf"],
)
def test_other_rows_are_all_covered(prior):
    assert plan(2000, 32, Budget(ratio=12), prior=prior).covered == 2000


def test_the_better_spectrum_is_chosen():
    plain = spectrum(64)
    classes = Spectrum(plain.variances / 10, plain.total, (Subquantizer(1, 32),))
    hardly = Spectrum(plain.variances * 0.999, plain.total, (Subquantizer(1, 32),))
    budget = Budget(ratio=20)
    chosen = plan(5000, 64, budget, spectra=[plain, classes])
    assert chosen.subquantizers[0] == Subquantizer(1, 32)
    assert chosen.expected_error < plan(5000, 64, budget).expected_error
    kept = plan(5000, 64, budget, spectra=[hardly, plain], prior=even, most_stages=0)
    assert kept.subquantizers[:1] != (Subquantizer(1, 32),)


def test_the_better_order_is_chosen():
    flat, sharp = even(5000), steep(5000)
    orders = [(64, flat), (8, sharp)]
    allocation = plan_allocation([spectrum(64)], orders, Budget(ratio=20))
    assert allocation.block == 8
    assert plan_allocation([spectrum(64)], orders[::-1], Budget(ratio=20)) == allocation


def test_a_table_without_variance_still_gets_a_layout():
    nothing = Spectrum(np.zeros(100), 0.0)
    allocation = plan(100, 100, 30_000, spectra=[nothing])
    assert allocation.expected_error == 0
    assert allocation.nbytes < 1000


@pytest.mark.parametrize("errors", [STAGE_ERROR, STACK_ERROR])
def test_each_plane_leaves_less_and_takes_less_than_the_one_before(errors):
    assert errors[0] == 1
    assert errors[1] == BYTE_ERROR[STAGE_COLUMNS]
    assert (np.diff(errors) < 0).all()
    assert (np.diff(errors, 2) > 0).all()
    assert (errors <= STAGE_ERROR).all()


def test_more_values_to_a_byte_leave_more_but_never_less_than_theory_allows():
    sizes = sorted(BYTE_ERROR)
    assert all(BYTE_ERROR[a] < BYTE_ERROR[b] for a, b in itertools.pairwise(sizes))
    assert all(BYTE_ERROR[k] > 4 ** (-8 / k) for k in sizes)
