import itertools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolkit.methods.lighttoken.additive_codebooks import is_split
from toolkit.methods.lighttoken.residual_stages import Plane, add_planes, fit_planes
from toolkit.table.embedding import CODEBOOK_PEAK

seeds = st.integers(0, 10_000)


def normal(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def fitted(residual, tiers, *, weights=None, seed=0, split=False):
    """Planes, and what they leave of ``residual``, which stays as it is."""
    left = residual.clone()
    weights = torch.ones(len(residual)) if weights is None else weights
    generator = torch.Generator().manual_seed(seed)
    tiers = [tier if isinstance(tier, tuple) else (tier, 8) for tier in tiers]
    return fit_planes(left, tiers, weights, generator, split=split), left


def left_by(residual, tiers, **options):
    return float((fitted(residual, tiers, **options)[1] ** 2).sum())


def sum_of(planes, like):
    total = torch.zeros_like(like)
    add_planes(total, planes, 1.0)
    return total


def test_a_plane_stands_for_its_entries_times_the_columns_scales():
    codes = torch.tensor([[3, 200], [255, 0]], dtype=torch.uint8)
    book = torch.arange(256.0)[:, None] * torch.tensor([[1.0, -2.0]])
    plane = Plane(codes, book, torch.tensor([1.0, 10.0, 100.0]))
    assert plane.k == 2
    expected = [[3.0, -60.0, 20_000.0], [255.0, -5100.0, 0.0]]
    assert plane.values(slice(0, 2)).tolist() == expected
    target = torch.ones(3, 3)
    add_planes(target, (plane, plane), -0.5)
    assert target.tolist() == [[1 - v for v in row] for row in expected] + [[1.0] * 3]


@given(
    seeds,
    st.integers(1, 40),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 26)), min_size=1, max_size=3),
    st.booleans(),
)
def test_codebook_planes_of_any_shape_take_away_what_they_add(seed, rows, width, tiers, split):
    tiers = sorted(((min(n, rows), k) for n, k in tiers), reverse=True)
    residual = normal(rows, width, seed)
    planes, left = fitted(residual, tiers, seed=seed, split=split)
    for plane, (covered, k) in zip(planes, tiers, strict=True):
        assert plane.codes.shape == (covered, -(-width // k))
        assert plane.codes.dtype == torch.uint8
        assert plane.codebook.shape == (256, k)
        assert plane.scale.shape == (width,)
        assert plane.codebook.abs().max() <= CODEBOOK_PEAK
        assert torch.equal(plane.codebook, plane.codebook.round())
        assert plane.split == split
        assert is_split(plane.codebook) or not split
    assert torch.allclose(left + sum_of(planes, left), residual, atol=1e-4)
    assert float((left**2).sum()) <= float((residual**2).sum()) * (1 + 1e-5)


def test_planes_cover_their_rows_only():
    residual = normal(40, 6)
    planes, left = fitted(residual, (30, 10))
    assert [len(plane.codes) for plane in planes] == [30, 10]
    assert torch.equal(left[30:], residual[30:])
    assert (left[:30] != residual[:30]).any(1).all()
    assert not sum_of(planes, residual)[30:].any()


@pytest.mark.parametrize(("tiers", "most"), [((6000,), 1.13), ((6000, 2000), 1.17)])
def test_split_codebooks_are_sums_and_leave_little_more(tiers, most):
    residual = normal(6000, 16)
    plain, split = (fitted(residual, tiers, split=split) for split in (False, True))
    assert all(is_split(plane.codebook) for plane in split[0])
    assert not any(is_split(plane.codebook) for plane in plain[0])
    assert 1.02 < float((split[1] ** 2).sum() / (plain[1] ** 2).sum()) < most


@pytest.mark.parametrize(("split", "share"), [(False, 0.9), (True, 0.95)])
def test_heavier_rows_have_the_better_codebook(split, share):
    residual = normal(2000, 16)
    first = torch.where(torch.arange(2000) < 300, 1.0, 1e-4)
    errors = [
        float((fitted(residual, (2000,), weights=w, split=split)[1][:300] ** 2).sum())
        for w in (torch.ones(2000), first)
    ]
    assert errors[1] < share * errors[0]


def test_more_planes_leave_less():
    residual = normal(1000, 6)
    errors = [left_by(residual, (1000,) * n) for n in range(4)]
    assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(errors))


def test_bytes_of_the_same_columns_are_searched_together(monkeypatch):
    residual, tiers = normal(3000, 16), (3000, 3000, 1500)
    together = left_by(residual, tiers)
    monkeypatch.setattr(
        sys.modules["toolkit.methods.lighttoken.residual_stages"],
        "_search",
        lambda stack, target: None,
    )
    assert together < 0.92 * left_by(residual, tiers)


def test_two_bytes_are_nearly_the_best_pair():
    residual = normal(400, 8)
    (first, second), left = fitted(residual, (400, 400))
    a, b = (plane.codebook * plane.scale for plane in (first, second))
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
    (plane,), left = fitted(residual, [(30, k)])
    for group, start in enumerate(range(0, width, k)):
        columns = slice(start, min(start + k, width))
        entries = plane.codebook[:, : columns.stop - columns.start] * plane.scale[columns]
        assert torch.equal(
            plane.values(slice(0, 30))[:, columns], entries[plane.codes[:, group].long()]
        )
        errors = torch.cdist(residual[:, columns].double(), entries.double()) ** 2
        own = (left[:, columns].double() ** 2).sum(1)
        assert (own <= errors.amin(1) + 1e-5).all()


@pytest.mark.parametrize("split", [False, True])
def test_nothing_left_stays_nothing(split):
    residual = torch.zeros(50, 9)
    planes, left = fitted(residual, (50, 20), split=split)
    assert torch.isfinite(sum_of(planes, left)).all()
    assert left.abs().max() < 1e-20


def test_rows_of_every_block_are_coded():
    residual = normal(2500, 8)
    _, left = fitted(residual, (2500,))
    share = (left**2).sum(1) / (residual**2).sum(1)
    assert all(part.mean() < 0.6 for part in share.split(512))


@pytest.mark.parametrize("split", [False, True])
def test_equal_seeds_give_equal_planes_on_any_number_of_threads(split):
    residual, before, found = normal(2500, 8), torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            found.append(fitted(residual, (2500, 100), seed=3, split=split)[0])
    finally:
        torch.set_num_threads(before)
    for one, again, other in zip(*found, strict=True):
        assert torch.equal(one.codes, again.codes)
        assert torch.equal(one.codebook, again.codebook)
        assert torch.equal(one.scale, again.scale)
        assert (one.codes == other.codes).float().mean() > 0.99


def test_no_tiers_make_no_planes():
    residual = normal(5, 3)
    planes, left = fitted(residual, ())
    assert planes == ()
    assert torch.equal(left, residual)


@pytest.mark.parametrize(("split", "share"), [(False, 0.1), (True, 0.2)])
@pytest.mark.parametrize("column", [0.0, 1e-12])
def test_rows_of_next_to_no_weight_may_need_what_no_other_row_does(column, split, share):
    residual, weights = normal(17, 16), torch.where(torch.arange(17) < 8, 1.0, 1e-3)
    residual[:8, 3] *= column
    planes, left = fitted(residual, (17, 17), weights=weights, split=split)
    assert torch.isfinite(left).all()
    assert all(torch.isfinite(plane.scale).all() for plane in planes)
    assert left[:8].abs().max() < share * residual[:8].abs().max()
