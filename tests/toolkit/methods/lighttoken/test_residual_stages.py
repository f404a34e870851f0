import itertools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit.methods.lighttoken.residual_stages import ResidualStage, add_stages, fit_stages
from toolkit.table.embedding import CODEBOOK_PEAK

seeds = st.integers(0, 10_000)


def normal(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def fitted(residual, row_counts, *, weights=None, seed=0, additive=False):
    """Residual stages, and what they leave of ``residual``, which stays as it is."""
    left = residual.clone()
    weights = torch.ones(len(residual)) if weights is None else weights
    generator = torch.Generator().manual_seed(seed)
    row_counts = [stage if isinstance(stage, tuple) else (stage, 8) for stage in row_counts]
    return fit_stages(left, row_counts, weights, generator, additive=additive), left


def left_by(residual, row_counts, **options):
    return float((fitted(residual, row_counts, **options)[1] ** 2).sum())


def sum_of(stages, like):
    total = torch.zeros_like(like)
    add_stages(total, stages, 1.0)
    return total


def test_a_plane_stands_for_its_entries_times_the_columns_scales():
    codes = torch.tensor([[3, 200], [255, 0]], dtype=torch.uint8)
    book = torch.arange(256.0)[:, None] * torch.tensor([[1.0, -2.0]])
    stage = ResidualStage(codes, book, torch.tensor([1.0, 10.0, 100.0]))
    assert stage.k == 2
    expected = [[3.0, -60.0, 20_000.0], [255.0, -5100.0, 0.0]]
    assert stage.values(slice(0, 2)).tolist() == expected
    target = torch.ones(3, 3)
    add_stages(target, (stage, stage), -0.5)
    assert target.tolist() == [[1 - v for v in row] for row in expected] + [[1.0] * 3]


@given(
    seeds,
    st.integers(1, 40),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 26)), min_size=1, max_size=3),
    st.booleans(),
)
def test_codebook_planes_of_any_shape_take_away_what_they_add(
    seed, rows, width, row_counts, additive
):
    row_counts = sorted(((min(n, rows), k) for n, k in row_counts), reverse=True)
    residual = normal(rows, width, seed)
    stages, left = fitted(residual, row_counts, seed=seed, additive=additive)
    for stage, (covered, k) in zip(stages, row_counts, strict=True):
        assert stage.codes.shape == (covered, -(-width // k))
        assert stage.codes.dtype == torch.uint8
        assert stage.codebook.shape == (256, k)
        assert stage.scale.shape == (width,)
        assert stage.codebook.abs().max() <= CODEBOOK_PEAK
        assert torch.equal(stage.codebook, stage.codebook.round())
        assert stage.additive == additive
        assert is_additive(stage.codebook) or not additive
    assert torch.allclose(left + sum_of(stages, left), residual, atol=1e-4)
    assert float((left**2).sum()) <= float((residual**2).sum()) * (1 + 1e-5)


def test_planes_cover_their_rows_only():
    residual = normal(40, 6)
    stages, left = fitted(residual, (30, 10))
    assert [len(stage.codes) for stage in stages] == [30, 10]
    assert torch.equal(left[30:], residual[30:])
    assert (left[:30] != residual[:30]).any(1).all()
    assert not sum_of(stages, residual)[30:].any()


@pytest.mark.parametrize(("row_counts", "most"), [((6000,), 1.13), ((6000, 2000), 1.17)])
def test_split_codebooks_are_sums_and_leave_little_more(row_counts, most):
    residual = normal(6000, 16)
    plain, summed = (fitted(residual, row_counts, additive=additive) for additive in (False, True))
    assert all(is_additive(stage.codebook) for stage in summed[0])
    assert not any(is_additive(stage.codebook) for stage in plain[0])
    assert 1.02 < float((summed[1] ** 2).sum() / (plain[1] ** 2).sum()) < most


@pytest.mark.parametrize(("additive", "share"), [(False, 0.9), (True, 0.95)])
def test_heavier_rows_have_the_better_codebook(additive, share):
    residual = normal(2000, 16)
    first = torch.where(torch.arange(2000) < 300, 1.0, 1e-4)
    errors = [
        float((fitted(residual, (2000,), weights=w, additive=additive)[1][:300] ** 2).sum())
        for w in (torch.ones(2000), first)
    ]
    assert errors[1] < share * errors[0]


def test_more_planes_leave_less():
    residual = normal(1000, 6)
    errors = [left_by(residual, (1000,) * n) for n in range(4)]
    assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(errors))


def test_bytes_of_the_same_columns_are_searched_together(monkeypatch):
    residual, row_counts = normal(3000, 16), (3000, 3000, 1500)
    together = left_by(residual, row_counts)
    monkeypatch.setattr(
        sys.modules["toolkit.methods.lighttoken.residual_stages"],
        "_search",
        lambda stack, target: None,
    )
    assert together < 0.92 * left_by(residual, row_counts)


def test_two_bytes_are_nearly_the_best_pair():
    residual = normal(400, 8)
    (first, second), left = fitted(residual, (400, 400))
    a, b = (stage.codebook * stage.scale for stage in (first, second))
    nearest = torch.full((400,), torch.inf)
    for entry in a:
        nearest = torch.minimum(nearest, torch.cdist(residual - entry, b).amin(1) ** 2)
    own = left.square().sum(1)
    assert (own >= nearest - 1e-4).all()
    assert own.mean() < 1.05 * nearest.mean()


def test_fewer_columns_to_a_byte_leave_less():
    residual = normal(3000, 12)
    errors = [left_by(residual, [(3000, k)]) for k in (1, 2, 3, 5, 8, 12)]
    assert errors == sorted(errors)
    assert errors[0] < 1e-3 * float((residual**2).sum())


@given(seeds, st.integers(1, 12), st.integers(1, 10))
def test_no_other_byte_would_leave_less(seed, width, k):
    residual = normal(30, width, seed)
    (stage,), left = fitted(residual, [(30, k)])
    for group, start in enumerate(range(0, width, k)):
        columns = slice(start, min(start + k, width))
        entries = stage.codebook[:, : columns.stop - columns.start] * stage.scale[columns]
        assert torch.equal(
            stage.values(slice(0, 30))[:, columns], entries[stage.codes[:, group].long()]
        )
        errors = torch.cdist(residual[:, columns].double(), entries.double()) ** 2
        own = (left[:, columns].double() ** 2).sum(1)
        assert (own <= errors.amin(1) + 1e-5).all()


@pytest.mark.parametrize("additive", [False, True])
def test_nothing_left_stays_nothing(additive):
    residual = torch.zeros(50, 9)
    stages, left = fitted(residual, (50, 20), additive=additive)
    assert torch.isfinite(sum_of(stages, left)).all()
    assert left.abs().max() < 1e-20


def test_rows_of_every_block_are_coded():
    residual = normal(2500, 8)
    _, left = fitted(residual, (2500,))
    share = (left**2).sum(1) / (residual**2).sum(1)
    assert all(some.mean() < 0.6 for some in share.split(512))


@pytest.mark.parametrize("additive", [False, True])
def test_equal_seeds_give_equal_planes_on_any_number_of_threads(additive):
    residual, before, found = normal(2500, 8), torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            found.append(fitted(residual, (2500, 100), seed=3, additive=additive)[0])
    finally:
        torch.set_num_threads(before)
    for one, again, other in zip(*found, strict=True):
        assert torch.equal(one.codes, again.codes)
        assert torch.equal(one.codebook, again.codebook)
        assert torch.equal(one.scale, again.scale)
        assert (one.codes == other.codes).float().mean() > 0.99


def test_no_tiers_make_no_planes():
    residual = normal(5, 3)
    stages, left = fitted(residual, ())
    assert stages == ()
    assert torch.equal(left, residual)


@pytest.mark.parametrize(("additive", "share"), [(False, 0.1), (True, 0.2)])
@pytest.mark.parametrize("column", [0.0, 1e-12])
def test_rows_of_next_to_no_weight_may_need_what_no_other_row_does(column, additive, share):
    residual, weights = normal(17, 16), torch.where(torch.arange(17) < 8, 1.0, 1e-3)
    residual[:8, 3] *= column
    stages, left = fitted(residual, (17, 17), weights=weights, additive=additive)
    assert torch.isfinite(left).all()
    assert all(torch.isfinite(stage.scale).all() for stage in stages)
    assert left[:8].abs().max() < share * residual[:8].abs().max()
