import numpy as np
import pytest
import torch

from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.errors import InputError
from toolkit.methods.lighttoken.base_code import Space
from toolkit.table.components import DenseDecoder

ROWS, WIDTH = 3000, 32
QUICK = LightTokenConfig(rounds=4)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(ROWS, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def metric():
    """Some directions matter a hundred times as much as others."""
    rng = np.random.default_rng(1)
    turned = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    return turned @ np.diag(np.geomspace(1, 100, WIDTH)) @ turned.T


@pytest.fixture(scope="module")
def importance():
    weights = 1.0 / (np.arange(ROWS) + 10)
    return np.random.default_rng(2).permutation(weights)


def packed(table, metric, ratio=12, **options):
    return compress(table, Budget(ratio=ratio), metric=metric, config=QUICK, **options)


def error_in(metric, table, embedding, importance):
    error = embedding.dense() - table
    squares = np.einsum("ij,jk,ik->i", error, metric, error)
    return float(importance @ squares)


def shares(metric, table, embedding):
    """<x, x^> / <x, x> of each centred row."""
    rows, decoded = table - embedding.mean, embedding.dense() - embedding.mean
    inner = np.einsum("ij,jk,ik->i", rows, metric, decoded)
    return inner / np.einsum("ij,jk,ik->i", rows, metric, rows)


def test_errors_that_matter_get_smaller_in_the_same_bytes(table, metric, importance):
    plain = compress(table, Budget(ratio=12), importance=importance, config=QUICK)
    ours = packed(table, metric, importance=importance)
    assert ours.nbytes <= Budget(ratio=12).bytes_for(ROWS, WIDTH)
    least = error_in(metric, table, ours, importance)
    assert least < 0.6 * error_in(metric, table, plain, importance)


def test_stages_have_decoders_of_their_own(table, metric):
    frequent = np.where(np.arange(ROWS) < 200, 1000.0, 1.0)
    embedding = packed(table, metric, ratio=6, importance=frequent)
    assert all(isinstance(stage.decoder, DenseDecoder) for stage in embedding.stages)
    further = [stage.rows for stage in embedding.stages if stage.rows < ROWS]
    assert further
    assert further == sorted(further, reverse=True)


def test_what_is_stored_is_what_was_trained(table, metric, tmp_path):
    embedding = packed(table, metric, unbiased=True)
    embedding.save(tmp_path / "table")
    again = CompressedEmbedding.load(tmp_path / "table")
    assert np.array_equal(again.dense(), embedding.dense())


def test_unbiased_rows_keep_their_inner_products(table, metric):
    biased, unbiased = (packed(table, metric, unbiased=answer) for answer in (False, True))
    assert shares(metric, table, biased).mean() < 0.99
    assert abs(shares(metric, table, unbiased) - 1).mean() < 0.01  # 256 levels are not exact
    assert biased.gain is None
    assert unbiased.gain is not None


def test_a_scale_of_the_metric_changes_nothing(table, metric):
    one, other = packed(table, metric), packed(table, 1e4 * metric)
    assert error_in(metric, table, one, np.ones(ROWS)) == pytest.approx(
        error_in(metric, table, other, np.ones(ROWS)), rel=1e-2
    )


def test_equal_seeds_give_equal_bytes(table, metric):
    assert packed(table, metric).to_bytes() == packed(table, metric).to_bytes()


def test_rows_of_unlike_lengths_share_one_code(metric):
    rng = np.random.default_rng(3)
    lengths = np.exp(rng.normal(size=(ROWS, 1)))
    table = (rng.normal(size=(ROWS, WIDTH)) * lengths).astype(np.float32)
    embedding = packed(table, metric, ratio=8)
    assert embedding.gain is not None
    cosines = shares(np.eye(WIDTH), table, embedding)
    assert np.quantile(cosines, 0.05) > 0.5


def test_a_space_turns_distances_into_the_metric(metric):
    space = Space.of(torch.from_numpy(metric))
    error = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0))
    wanted = torch.einsum("ij,jk,ik->i", error.double(), torch.from_numpy(metric), error.double())
    assert torch.allclose((error @ space.root).square().sum(1).double(), wanted, rtol=1e-4)
    assert torch.allclose(error @ space.root @ space.inverse, error, atol=1e-4)


def test_a_direction_that_does_not_matter_can_be_inverted(metric):
    flat = metric.copy()
    flat[0] = flat[:, 0] = 0
    space = Space.of(torch.from_numpy(flat))
    assert torch.isfinite(space.inverse).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.eye(5), r"must be \[32, 32\], got \[5, 5\]"),
        (np.full((WIDTH, WIDTH), np.nan), "finite and symmetric"),
        (np.triu(np.ones((WIDTH, WIDTH))), "finite and symmetric"),
        (np.zeros((WIDTH, WIDTH)), "must be positive, got 0"),
    ],
)
def test_a_bad_metric_is_refused(table, bad, message):
    with pytest.raises(InputError, match=message):
        packed(table, bad)


def test_a_metric_without_use_is_refused(table, metric):
    with pytest.raises(InputError, match="method svd has no use for a metric"):
        compress(table, Budget(ratio=8), method="svd", metric=metric)
    with pytest.raises(InputError, match="unbiased rows need a metric"):
        compress(table, Budget(ratio=8), unbiased=True)
