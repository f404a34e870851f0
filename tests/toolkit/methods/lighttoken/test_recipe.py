from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit import Budget, LightTokenConfig, compress
from toolkit.allocate.allocation import Allocation, Subquantizer, allocation_nbytes
from toolkit.allocate.importance import order_rows
from toolkit.methods.lighttoken.recipe import train
from toolkit.table.embedding import CODEBOOK_PEAK, ColumnDecoder, DenseDecoder

QUICK = LightTokenConfig(rounds=2)
LAYOUT = Allocation(
    subquantizers=(Subquantizer(2, 2), Subquantizer(3, 6)),
    covered=707,
    row_counts=(300, 100),
    gain=False,
    block=64,
    nbytes=0,
    expected_error=0.0,
)


def trained(table, allocation, config=QUICK, progress=None, seed=0):
    weights = np.random.default_rng(0).random(len(table))
    order, ids, position_weights = order_rows(weights / weights.sum(), allocation.block)
    return train(table, ids, position_weights, order, allocation, config, seed, progress)


def squared_error(embedding, table):
    return float(((embedding.dense() - table) ** 2).sum())


def variance(table):
    return float(((table - table.mean(axis=0)) ** 2).sum())


def unlike_lengths(table):
    factors = np.exp(np.random.default_rng(0).normal(size=(len(table), 1)))
    return ((table - table.mean(axis=0)) * factors).astype(np.float32)


def test_a_layout_is_filled_exactly(small_table):
    embedding = trained(small_table, LAYOUT)
    first, second, *stages = embedding.stages
    for stage, subquantizer in zip((first, second), LAYOUT.subquantizers, strict=True):
        assert isinstance(stage.decoder, DenseDecoder)
        assert stage.codes.shape == (707, subquantizer.groups)
        assert stage.values_per_byte == subquantizer.dimension
        assert stage.decoder.weight.dtype == np.int8
        assert np.abs(stage.codebook.astype(int)).max() <= CODEBOOK_PEAK
    assert all(isinstance(stage.decoder, ColumnDecoder) for stage in stages)
    assert [stage.rows for stage in stages] == [300, 100]
    assert [stage.values_per_byte for stage in stages] == [8, 8]
    assert embedding.order.block == 64
    assert embedding.gain is embedding.tail is embedding.lowrank is None


def sums(embedding):
    """Of each stage, whether its codebook's entries are sums of two of sixteen."""
    return [is_additive(torch.from_numpy(stage.codebook)) for stage in embedding.stages]


@pytest.mark.parametrize("sample_rows", [300, 707])
def test_split_codebooks_are_those_of_all_stages_but_of_a_byte_alone(small_table, sample_rows):
    allocation = replace(LAYOUT, subquantizers=(Subquantizer(1, 8), *LAYOUT.subquantizers))
    config = replace(QUICK, sample_rows=sample_rows)
    plain, additive = (
        trained(small_table, allocation, replace(config, additive=additive))
        for additive in (False, True)
    )
    assert sums(plain) == [False] * 5
    assert sums(additive) == [False, True, True, True, True]
    peaks = [np.abs(stage.codebook.astype(int)).max() for stage in additive.stages]
    assert max(peaks) <= CODEBOOK_PEAK
    assert additive.nbytes == plain.nbytes
    assert squared_error(additive, small_table) < 1.3 * squared_error(plain, small_table)


def test_split_codes_of_the_columns_are_sums(small_table):
    allocation = replace(LAYOUT, subquantizers=(), row_counts=(50,), columns=5)
    assert sums(trained(small_table, allocation, replace(QUICK, additive=True))) == [True, True]
    assert sums(trained(small_table, allocation)) == [False, False]


def test_a_code_of_the_columns_has_no_decoder(small_table):
    embedding = trained(small_table, replace(LAYOUT, subquantizers=(), row_counts=(50,), columns=5))
    base, stage = embedding.stages
    assert isinstance(base.decoder, ColumnDecoder)
    assert base.codes.shape == (707, 10)
    assert base.codebook.shape == (256, 5)
    assert stage.rows == 50
    assert squared_error(embedding, small_table) < 0.3 * variance(small_table)


@settings(max_examples=15)
@given(
    rows=st.integers(2, 60),
    width=st.integers(1, 20),
    subquantizers=st.lists(
        st.builds(Subquantizer, st.integers(2, 4), st.integers(1, 5)), min_size=1, max_size=2
    ).map(tuple),
    columns=st.sampled_from([0, 3]),
    share=st.sampled_from([0.5, 1.0]),
    gain=st.booleans(),
)
def test_no_file_is_larger_than_its_layout_says(rows, width, subquantizers, columns, share, gain):
    table = np.random.default_rng(rows).normal(size=(rows, width)).astype(np.float32)
    covered = max(2, int(share * rows))
    shape = {
        "subquantizers": () if columns else subquantizers,
        "columns": columns,
        "covered": covered,
        "row_counts": (covered, 1),
        "gain": gain,
        "block": 8,
    }
    nbytes = allocation_nbytes(rows, width, **shape)
    embedding = trained(table, Allocation(**shape, nbytes=nbytes, expected_error=0.0))
    assert embedding.nbytes <= nbytes
    assert nbytes <= 1.03 * embedding.nbytes + 1024
    assert (embedding.tail is not None) == (covered < rows)
    assert np.isfinite(embedding.dense()).all()


@pytest.mark.parametrize(
    "without",
    [
        {"subquantizers": ()},
        {"subquantizers": LAYOUT.subquantizers[:1]},
        {"subquantizers": LAYOUT.subquantizers[1:]},
        {"row_counts": ()},
        {"row_counts": (300,)},
        {"subquantizers": (), "row_counts": (100,)},
    ],
    ids=str,
)
def test_every_part_lowers_the_error(small_table, without):
    error = squared_error(trained(small_table, replace(LAYOUT, **without)), small_table)
    assert squared_error(trained(small_table, LAYOUT), small_table) < 0.97 * error
    assert error < variance(small_table)


def test_rounds_pay(small_table):
    errors = [
        squared_error(trained(small_table, LAYOUT, LightTokenConfig(rounds=rounds)), small_table)
        for rounds in (0, 2, 12)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_the_code_serves_important_rows_first(small_table):
    allocation = replace(LAYOUT, row_counts=(), block=0)
    ids = np.arange(len(small_table))

    def error_of_the_first(weights):
        embedding = train(small_table, ids, weights, None, allocation, QUICK, 0, None)
        return ((embedding.dense()[:64] - small_table[:64]) ** 2).sum()

    first = np.where(ids < 64, 1.0, 1e-4)
    assert error_of_the_first(first) < 0.9 * error_of_the_first(np.ones(len(ids)))


def test_rows_that_were_not_sampled_come_out_nearly_as_well():
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(4000, 16)) / (1 + np.arange(16))).astype(np.float32)
    allocation = replace(LAYOUT, covered=4000, row_counts=(), subquantizers=(Subquantizer(3, 4),))
    whole, part = (
        squared_error(trained(table, allocation, replace(QUICK, sample_rows=rows)), table)
        for rows in (4000, 2000)
    )
    assert part < 1.1 * whole


def test_rows_that_were_not_sampled_are_searched_for_too():
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(3000, 12)) / np.sqrt(1 + np.arange(12))).astype(np.float32)
    # More latents than directions: the nearest entries are far from the best bytes.
    allocation = replace(LAYOUT, covered=3000, row_counts=(), subquantizers=(Subquantizer(5, 6),))
    rounds = replace(QUICK, rounds=4)
    whole, part = (
        squared_error(trained(table, allocation, replace(rounds, sample_rows=rows)), table)
        for rows in (3000, 2000)
    )
    assert part < 1.2 * whole


def test_the_tail_is_the_mean_of_rows_without_a_code(small_table):
    allocation = replace(LAYOUT, covered=600, row_counts=(100,))
    embedding = trained(small_table, allocation)
    position = embedding.order.positions(np.arange(707, dtype=np.int32))
    rest = small_table[position >= 600]
    assert len(rest) == 107
    np.testing.assert_allclose(embedding.tail, rest.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        embedding.dense()[position >= 600], np.tile(embedding.tail, (107, 1))
    )
    assert embedding.covered == 600


def test_a_gain_is_stored_for_every_covered_row_and_pays_for_unlike_lengths(small_table):
    table = unlike_lengths(small_table)
    allocation = replace(LAYOUT, subquantizers=(Subquantizer(4, 4),), row_counts=())
    plain, gained = (trained(table, replace(allocation, gain=gain)) for gain in (False, True))
    assert gained.gain.codes.shape == (707,)
    assert plain.gain is None
    lengths = (table**2).sum(axis=1)

    def relative(embedding):
        return (((embedding.dense() - table) ** 2).sum(axis=1) / lengths).mean()

    assert relative(gained) < 0.7 * relative(plain)


def test_gains_are_fitted_to_what_the_codes_say(small_table):
    """No other factor for a row would leave less, but for what 256 levels can say."""
    table = unlike_lengths(small_table)
    embedding = trained(table, replace(LAYOUT, gain=True))
    ones = replace(embedding.gain, levels=np.ones(256, np.float32))
    said = replace(embedding, gain=ones).dense() - embedding.mean
    wanted = table - embedding.mean
    best = np.maximum((said * wanted).sum(axis=1) / (said**2).sum(axis=1), 0)
    positions = embedding.order.positions(np.arange(707, dtype=np.int32))
    np.testing.assert_allclose(embedding.gain.at(positions), best, rtol=0.05, atol=1e-6)


def test_length_power_trades_short_rows_for_long_ones(small_table):
    table = unlike_lengths(small_table)
    allocation = replace(LAYOUT, gain=True, subquantizers=(Subquantizer(3, 6),), row_counts=())
    lengths = np.linalg.norm(table, axis=1)
    errors = [
        ((trained(table, allocation, replace(QUICK, length_power=p)).dense() - table) ** 2).sum(
            axis=1
        )
        for p in (0.0, 2.0)
    ]
    assert errors[1].sum() < 0.97 * errors[0].sum()
    assert (errors[0] / lengths**2).mean() < 0.97 * (errors[1] / lengths**2).mean()


def test_equal_seeds_give_equal_bytes_and_others_do_not(small_table):
    first, again, other = (trained(small_table, LAYOUT, seed=seed) for seed in (1, 1, 2))
    assert first.to_bytes() == again.to_bytes()
    assert first.to_bytes() != other.to_bytes()


@pytest.mark.parametrize("rounds", [0, 3])
@pytest.mark.parametrize("shape", [{}, {"row_counts": ()}, {"subquantizers": ()}], ids=str)
def test_progress_rises_from_nothing(small_table, shape, rounds):
    told = []
    trained(
        small_table,
        replace(LAYOUT, **shape),
        replace(QUICK, rounds=rounds),
        progress=lambda share, _: told.append(share),
    )
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] <= 1
    assert len(told) >= 1 + (rounds if "subquantizers" not in shape else 0)


def test_progress_ends_at_one(small_table):
    told = []
    trained(small_table, LAYOUT, progress=lambda share, _: told.append(share))
    assert told[-1] == 1.0


def test_the_table_is_left_alone(small_table):
    before = small_table.copy()
    trained(small_table, replace(LAYOUT, gain=True))
    np.testing.assert_array_equal(small_table, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["lighttoken", "lighttoken-paper", "direction"])
def test_a_cuda_device_finds_as_good_a_table(small_table, monkeypatch, method):
    on_device = compress(small_table, Budget(ratio=8), method=method)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = compress(small_table, Budget(ratio=8), method=method)
    assert on_device.nbytes == on_cpu.nbytes
    errors = [squared_error(found, small_table) for found in (on_device, on_cpu)]
    assert errors[0] == pytest.approx(errors[1], rel=0.03)
