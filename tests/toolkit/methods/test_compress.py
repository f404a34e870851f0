import re
import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codebooks import is_additive
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, PaperConfig, compress
from toolkit.allocate.candidates import Spectrum
from toolkit.allocate.planner import plan_allocation
from toolkit.errors import BudgetError, InputError
from toolkit.methods.compress import METHODS, best_allocation, check_matrix

QUICK = LightTokenConfig(rounds=1)


def normal(rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def squared_error(embedding, table):
    return float(((embedding.dense().astype(np.float64) - table) ** 2).sum())


def variance(table):
    return float(((table.astype(np.float64) - table.mean(axis=0)) ** 2).sum())


@settings(max_examples=25)
@given(
    rows=st.integers(1, 400),
    width=st.integers(1, 40),
    max_bytes=st.integers(3000, 60_000),
    shuffled=st.booleans(),
    most_stages=st.integers(0, 6),
    classes=st.booleans(),
    additive=st.booleans(),
)
def test_the_result_never_exceeds_its_budget(
    rows, width, max_bytes, shuffled, most_stages, classes, additive
):
    table, budget = normal(rows, width), Budget(max_bytes=max_bytes)
    importance = np.random.default_rng(0).random(rows) if shuffled else None
    config = replace(QUICK, most_stages=most_stages, classes=classes, additive=additive)
    try:
        embedding = compress(table, budget, importance=importance, config=config)
    except BudgetError:
        return
    assert embedding.nbytes <= max_bytes
    assert squared_error(embedding, table) <= (table.astype(np.float64) ** 2).sum() * (1 + 1e-6)


@pytest.mark.parametrize("ratio", [4, 10, 11.5])
def test_the_ratio_asked_for_is_reached_on_disk(tmp_path, small_table, ratio):
    embedding = compress(small_table, Budget(ratio=ratio), config=QUICK)
    embedding.save(tmp_path / "table")
    assert (tmp_path / "table").stat().st_size == embedding.nbytes
    assert small_table.nbytes / embedding.nbytes >= ratio


def test_equal_seeds_give_equal_bytes_and_others_do_not(small_table):
    first, again, other = (
        compress(small_table, Budget(ratio=10), seed=seed, config=QUICK).to_bytes()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_more_bytes_leave_less_error(small_table):
    errors = [
        squared_error(compress(small_table, Budget(ratio=ratio), config=QUICK), small_table)
        for ratio in (14, 10, 6, 3)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.75 * variance(small_table)
    assert errors[-1] < 0.1 * errors[0]


def test_more_training_leaves_less_error(small_table):
    budget = Budget(ratio=10)
    trained = compress(small_table, budget, config=LightTokenConfig(rounds=8))
    untrained = compress(small_table, budget, config=LightTokenConfig(rounds=0))
    assert squared_error(trained, small_table) < 0.95 * squared_error(untrained, small_table)


def test_split_codebooks_are_sums_and_leave_little_more_error():
    table = (normal(3000, 48) / np.sqrt(1 + np.arange(48))).astype(np.float32)
    plain, additive = (
        compress(table, Budget(ratio=16), config=replace(QUICK, additive=additive))
        for additive in (False, True)
    )
    for embedding, expected in ((plain, False), (additive, True)):
        codebooks = [s.codebook for s in embedding.stages if s.codes.shape[1] > 1]
        assert len(codebooks) > 2
        assert {is_additive(torch.from_numpy(book)) for book in codebooks} == {expected}
    assert additive.nbytes == plain.nbytes
    assert squared_error(additive, table) < 1.12 * squared_error(plain, table)


def test_equal_seeds_give_equal_split_codebooks_and_others_do_not(small_table):
    config = replace(QUICK, additive=True)
    first, again, other = (
        compress(small_table, Budget(ratio=10), seed=seed, config=config).to_bytes()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_the_loaded_table_decodes_as_the_one_in_memory(tmp_path, small_embedding):
    small_embedding.save(tmp_path / "table")
    loaded = CompressedEmbedding.load(tmp_path / "table")
    np.testing.assert_array_equal(loaded.dense(), small_embedding.dense())


def test_important_rows_come_out_better(small_table):
    counts = np.ones(len(small_table))
    counts[320:384] = 1000
    plain = compress(small_table, Budget(ratio=10), config=QUICK).dense()
    weighed = compress(small_table, Budget(ratio=10), importance=counts, config=QUICK).dense()
    rows = slice(320, 384)
    error = [((e[rows] - small_table[rows]) ** 2).sum() for e in (plain, weighed)]
    assert error[1] < 0.5 * error[0]


@pytest.mark.parametrize("block", [0, 10], ids=["first", "short last"])
def test_importance_may_lie_in_one_block_only(small_table, block):
    counts = np.zeros(len(small_table))
    counts[64 * block : 64 * block + 3] = 1
    embedding = compress(small_table, Budget(ratio=10), importance=counts, config=QUICK)
    assert squared_error(embedding, small_table) < variance(small_table)


@pytest.mark.parametrize(
    ("importance", "message"),
    [
        (np.ones(5), r"one weight a row \(707\), got \(5,\)"),
        (np.full(707, -1.0), "not negative"),
        (np.full(707, np.nan), "must be finite"),
        (np.zeros(707), "not all zero"),
    ],
)
def test_importance_that_cannot_be_used_is_refused(small_table, importance, message):
    with pytest.raises(InputError, match=message):
        compress(small_table, Budget(ratio=10), importance=importance)


def test_a_giant_direction_has_a_byte_of_its_own():
    table = normal(2000, 64) * np.float32(0.01)
    table[:, 3] += 300 * normal(2000, 1, seed=1)[:, 0]
    config = replace(QUICK, gain=False)
    embedding = compress(table, Budget(ratio=10), config=config)
    assert 1 in [stage.values_per_byte for stage in embedding.stages]
    assert squared_error(embedding, table) < 1e-3 * variance(table)


def test_a_far_away_mean_costs_nothing():
    table = normal(2000, 64) * np.float32(0.01)
    budget = Budget(ratio=10)
    near = squared_error(compress(table, budget, config=QUICK), table)
    far = squared_error(compress(table + 10, budget, config=QUICK), table + 10)
    assert far < 1.1 * near


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, ">f4"])
def test_other_float_types_are_accepted(small_table, dtype):
    table = small_table.astype(dtype)
    embedding = compress(table, Budget(ratio=10), config=QUICK)
    expected = compress(table.astype(np.float32), Budget(ratio=10), config=QUICK)
    assert embedding.to_bytes() == expected.to_bytes()


def test_the_matrix_is_left_as_it_was(small_table):
    table = np.asfortranarray(small_table)
    before = table.copy()
    compress(table, Budget(ratio=10), config=QUICK)
    np.testing.assert_array_equal(table, before)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros(9, np.float32), r"must be a matrix .* shape \(9,\)"),
        (np.zeros((2, 3, 4), np.float32), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 4), np.float32), r"shape \(0, 4\)"),
        (np.zeros((4, 0), np.float32), r"shape \(4, 0\)"),
        (np.float32(1.0), r"shape \(\)"),
        (np.zeros((4, 4), np.int8), "floating point, got int8; dequantise it"),
        (np.zeros((4, 4), bool), "floating point, got bool"),
        (np.zeros((4, 4), np.complex64), "floating point, got complex64"),
    ],
)
def test_what_is_no_table_is_refused(matrix, message):
    with pytest.raises(InputError, match=message) as failure:
        compress(matrix, Budget(ratio=25))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(small_table, bad):
    table = small_table.copy()
    table[[17, 40], 5] = bad
    with pytest.raises(InputError, match=r"row 17 holds NaN or infinite .*2 such rows of 707"):
        compress(table, Budget(ratio=10))


@pytest.mark.filterwarnings("error")
def test_values_beyond_float32_are_named():
    table = np.ones((4, 4))
    table[2, 1] = 1e300
    with pytest.raises(InputError, match="row 2 holds NaN or infinite"):
        check_matrix(table)


def test_values_whose_squares_overflow_are_named():
    table = normal(50, 4)
    table[7] *= np.float32(1e20)
    with pytest.raises(InputError, match=r"row 7 holds \de\+20, .*scale the table down"):
        check_matrix(table)


def test_an_unknown_method_is_refused(small_table):
    with pytest.raises(InputError, match="'zip' is unknown; known: lighttoken"):
        compress(small_table, Budget(ratio=10), method="zip")


@pytest.mark.parametrize("most_stages", [0, 6])
def test_the_nearest_ratio_named_when_out_of_reach_really_works(small_table, most_stages):
    config = replace(QUICK, most_stages=most_stages)
    with pytest.raises(BudgetError) as failure:
        compress(small_table, Budget(ratio=5000), config=config)
    message = str(failure.value)
    assert "\n" not in message
    ratio = float(re.search(r"nearest .* ratio ([\d.]+)$", message)[1])
    assert compress(small_table, Budget(ratio=ratio), config=config).ratio >= ratio
    nbytes = int(re.search(r"is ([\d,]+) bytes", message)[1].replace(",", ""))
    assert compress(small_table, Budget(max_bytes=nbytes), config=config).nbytes <= nbytes


def longtailed(rows, width):
    """Rows whose lengths differ a hundredfold."""
    factors = np.exp(2 * np.random.default_rng(0).normal(size=(rows, 1)))
    return (normal(rows, width) * factors).astype(np.float32)


EDGES = {
    "one value": (normal(1, 1), 4_000),
    "one row": (normal(1, 64), 20_000),
    "two rows": (normal(2, 12), 20_000),
    "three rows": (normal(3, 5), 4_000),
    "one column": (normal(3000, 1), 9_000),
    "two columns": (normal(3000, 2), 12_000),
    "eight columns and one": (normal(300, 9), 6_000),
    "fewer rows than columns": (normal(30, 80), 12_000),
    "equal rows": (np.full((300, 20), 0.3, np.float32), 9_000),
    "zeros": (np.zeros((300, 20), np.float32), 9_000),
    "few distinct rows": (np.repeat(normal(4, 20), 80, axis=0), 9_000),
    "every row twice": (np.repeat(normal(200, 20), 2, axis=0), 9_000),
    "one row unlike the rest": (np.eye(300, 20, dtype=np.float32) * (np.arange(20) == 3), 9_000),
    "half of the rows zero": (normal(400, 20) * (np.arange(400) % 2)[:, None], 9_000),
    "half of the columns zero": (normal(400, 20) * (np.arange(20) % 2), 9_000),
    "unit vectors": (np.eye(400, 20, dtype=np.float32), 9_000),
    "lengths of all sizes": (longtailed(400, 20), 9_000),
    "far more bytes than needed": (normal(50, 8), 10**9),
    "tiny values": (normal(300, 20) * np.float32(1e-7), 9_000),
    "large values": (normal(300, 20) * np.float32(1e7), 9_000),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize(("table", "max_bytes"), EDGES.values(), ids=EDGES)
def test_odd_tables_are_compressed(table, max_bytes, additive):
    table = table.astype(np.float32)
    embedding = compress(
        table, Budget(max_bytes=max_bytes), config=replace(QUICK, additive=additive)
    )
    assert embedding.nbytes <= max_bytes
    noise = 1e-9 * (table.astype(np.float64) ** 2).sum()
    assert squared_error(embedding, table) <= 0.5 * variance(table) + noise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("zeros", [[1], [0, 5, 706], range(100, 300)], ids=str)
def test_rows_of_zeros_stay_zeros_within_the_budget(small_table, method, zeros):
    table = small_table.copy()
    table[list(zeros)] = 0
    config = QUICK if method == "lighttoken" else None
    embedding = compress(table, Budget(ratio=6), method=method, config=config)
    assert embedding.ratio >= 6
    decoded = embedding.dense()
    assert not decoded[list(zeros)].any()
    others = np.setdiff1d(np.arange(len(table)), list(zeros))
    assert decoded[others].any(axis=1).all()


def test_a_cosine_is_met_with_rows_of_zeros_too(small_table):
    table = small_table.copy()
    table[3] = 0
    embedding = compress(table, Budget(min_cosine=0.9), config=QUICK)
    assert not embedding.lookup(3).any()


def test_of_a_budget_too_small_for_marks_both_are_told(small_table):
    table = small_table.copy()
    table[3] = 0
    with pytest.raises(BudgetError, match="are too few for") as error:
        compress(table, Budget(ratio=5000), config=QUICK)
    least = error.value.nearest
    assert f"reached is {least:,} bytes" in str(error.value)
    assert compress(table, Budget(max_bytes=least), config=QUICK).nbytes <= least
    with pytest.raises(BudgetError):
        compress(table, Budget(max_bytes=least - 1), config=QUICK)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_table_is_exact(value):
    table = np.full((300, 20), value, np.float32)
    embedding = compress(table, Budget(max_bytes=9_000), config=QUICK)
    np.testing.assert_allclose(embedding.dense(), table, rtol=1e-6)


def test_few_distinct_rows_are_nearly_exact():
    table = np.repeat(normal(4, 20), 80, axis=0)
    embedding = compress(table, Budget(max_bytes=9_000), config=QUICK)
    assert squared_error(embedding, table) < 1e-3 * variance(table)


def test_rows_of_very_different_lengths_keep_their_direction():
    table = longtailed(1000, 32)
    embedding = compress(table, Budget(ratio=6), config=QUICK)
    assert embedding.gain is not None
    decoded = embedding.dense()
    lengths = np.linalg.norm(table, axis=1)
    cosines = (decoded * table).sum(axis=1) / (np.linalg.norm(decoded, axis=1) * lengths)
    short = lengths < np.quantile(lengths, 0.1)
    assert cosines[short].mean() > 0.5  # -0.03 without stored lengths; sums differ by processor
    assert cosines.mean() > 0.8


FALLING = 1 / np.arange(1, 34, dtype=np.float32)  # code and decoder pay; else columns do


def relative_error_at(scale, spectrum=FALLING, **options):
    table = normal(700, 33) * spectrum * np.float32(scale)
    config = LightTokenConfig(rounds=2, **options)
    embedding = compress(table, Budget(max_bytes=8_000), config=config)
    return squared_error(embedding, table) / variance(table)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("spectrum", [FALLING, 1.0], ids=["falling", "flat"])
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_the_units_of_a_table_do_not_matter(scale, spectrum, gain):
    plain = relative_error_at(1, spectrum, gain=gain)
    assert relative_error_at(scale, spectrum, gain=gain) == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize(
    ("scale", "spectrum"), [(1e10, FALLING), (1e14, FALLING), (1e-18, 1.0)], ids=str
)
def test_not_even_extreme_units_matter(scale, spectrum):
    plain = relative_error_at(1, spectrum, gain=False)
    assert relative_error_at(scale, spectrum, gain=False) == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("gain", [None, False, True])
def test_one_row_may_be_the_only_one_that_counts(gain):
    table, importance = normal(17, 7), np.eye(17)[16]
    config = replace(QUICK, gain=gain)
    embedding = compress(table, Budget(max_bytes=9_000), importance=importance, config=config)
    np.testing.assert_allclose(embedding.dense()[16], table[16], rtol=1e-3, atol=1e-3)


def test_the_rows_that_count_may_be_equal():
    table = np.concatenate([np.ones((8, 7), np.float32), normal(20, 7)])
    importance = np.where(np.arange(28) < 8, 1.0, 0.0)
    embedding = compress(table, Budget(max_bytes=9_000), importance=importance, config=QUICK)
    np.testing.assert_allclose(embedding.dense()[:8], 1, rtol=1e-3)


def test_a_constant_table_may_ask_for_a_gain():
    table, config = np.full((300, 20), 0.3, np.float32), replace(QUICK, gain=True)
    embedding = compress(table, Budget(max_bytes=9_000), config=config)
    np.testing.assert_allclose(embedding.dense(), table, rtol=1e-5)


def test_one_row_may_be_the_whole_sample():
    table, config = normal(300, 20), replace(QUICK, sample_rows=1, rounds=3)
    embedding = compress(table, Budget(max_bytes=4_100), config=config)
    assert squared_error(embedding, table) <= variance(table) * 1.01


def test_a_table_without_variance_fits_what_the_message_says():
    with pytest.raises(BudgetError) as failure:
        compress(np.zeros((300, 20), np.float32), Budget(max_bytes=100))
    nbytes = int(re.search(r"is ([\d,]+) bytes", str(failure.value))[1].replace(",", ""))
    compress(np.zeros((300, 20), np.float32), Budget(max_bytes=nbytes))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("gain", [None, True])
def test_a_few_rows_may_be_all_that_count(gain):
    table, importance = np.eye(17, 16, dtype=np.float32), np.eye(17)[8]
    config = replace(QUICK, gain=gain, most_stages=2)
    embedding = compress(table, Budget(max_bytes=9_000), importance=importance, config=config)
    np.testing.assert_allclose(embedding.dense()[8], table[8], atol=0.02)


def test_rows_that_never_occur_share_one_vector():
    table, importance = normal(800, 16), np.where(np.arange(800) < 400, 1.0, 0.0)
    embedding = compress(table, Budget(ratio=8), importance=importance, config=QUICK)
    assert embedding.tail is not None
    decoded = embedding.dense()
    np.testing.assert_allclose(decoded[400:], np.tile(table[400:].mean(0), (400, 1)), atol=1e-5)
    unused = compress(table, Budget(ratio=8), importance=np.ones(800), config=QUICK).dense()
    errors = [((found[:400] - table[:400]) ** 2).sum() for found in (decoded, unused)]
    assert errors[0] < 0.5 * errors[1]


def test_no_tiers_treat_all_rows_alike(small_table):
    config = replace(QUICK, most_stages=0)
    embedding = compress(small_table, Budget(ratio=10), config=config)
    assert {stage.rows for stage in embedding.stages} == {707}


def test_the_best_layout_comes_with_its_order():
    weights = np.random.default_rng(0).random(700) ** 20
    variances = 1.0 / (1 + np.arange(32.0))
    spectra = [Spectrum(variances, float(variances.sum()))]
    allocation, order, ids, by_position = best_allocation(spectra, weights, Budget(ratio=8))
    assert order.block == allocation.block
    np.testing.assert_array_equal(order.positions(ids.astype(np.int32)), np.arange(700))
    assert (np.diff(by_position) <= 0).all()
    assert by_position.sum() == pytest.approx(weights.sum())
    plain, none, ids, _ = best_allocation(spectra, np.sort(weights)[::-1], Budget(ratio=8))
    assert none is None
    assert plain.block == 0
    np.testing.assert_array_equal(ids, np.arange(700))
    assert best_allocation(spectra, weights, Budget(ratio=8), 0)[0].row_counts == ()


def test_large_blocks_are_taken_where_importance_has_them():
    """A map of small blocks would cost bytes and say nothing more."""
    weights = np.repeat(np.random.default_rng(0).random(40) ** 8, 128)
    variances = 1.0 / (1 + np.arange(32.0))
    spectra = [Spectrum(variances, float(variances.sum()))]
    allocation, order, _, _ = best_allocation(spectra, weights, Budget(ratio=30))
    assert allocation.block == order.block == 128


def test_a_table_that_came_out_too_large_is_not_handed_out(small_table, monkeypatch):
    def careless(spectra, orders, budget, **options):
        return plan_allocation(spectra, orders, Budget(max_bytes=20_000), **options)

    monkeypatch.setattr(sys.modules["toolkit.methods.compress"], "plan_allocation", careless)
    with pytest.raises(BudgetError, match="bytes where 9,000 were allowed; please report this"):
        compress(small_table, Budget(max_bytes=9_000), config=QUICK)


@pytest.mark.parametrize(
    ("method", "config"), [("lighttoken", PaperConfig()), ("lighttoken-paper", LightTokenConfig())]
)
def test_a_config_of_the_other_method_is_refused(small_table, method, config):
    with pytest.raises(InputError, match=f"{method} takes a .*, got {type(config).__name__}"):
        compress(small_table, Budget(ratio=10), method=method, config=config)


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_generous_budget_gives_a_close_table(ratio):
    table = normal(500, 64)
    embedding = compress(table, Budget(ratio=ratio), config=QUICK)
    assert embedding.ratio >= ratio
    assert squared_error(embedding, table) < 1e-3 * variance(table)


def test_a_table_smaller_than_any_file_is_refused_in_one_line():
    with pytest.raises(BudgetError, match="more than the table itself") as failure:
        compress(normal(1, 64), Budget(ratio=1))
    assert "\n" not in str(failure.value)


def test_progress_rises_to_the_end(small_table):
    told = []
    config = LightTokenConfig(rounds=2)
    compress(
        small_table,
        Budget(ratio=10),
        config=config,
        progress=lambda share, what: told.append((share, what)),
    )
    shares = [share for share, _ in told]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] <= 1
    assert {what for _, what in told} == {"fitting codes and decoder"}


@pytest.mark.slow
def test_all_minilm_l6_v2_is_25_times_smaller_and_its_rows_keep_their_direction(
    tmp_path, minilm_table, minilm_embedding
):
    minilm_embedding.save(tmp_path / "table")
    assert (tmp_path / "table").stat().st_size == minilm_embedding.nbytes
    assert minilm_table.nbytes / minilm_embedding.nbytes >= 25.0
    decoded = minilm_embedding.dense()
    products = (decoded * minilm_table).sum(axis=1)
    norms = np.linalg.norm(decoded, axis=1) * np.linalg.norm(minilm_table, axis=1)
    cosine = products / norms
    assert cosine.mean() > 0.84  # 0.846 with seed 0
    assert cosine[:5000].mean() > cosine.mean() + 0.05  # frequent rows come out better
