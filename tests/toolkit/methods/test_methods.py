"""The seed papers' methods, beside the default one."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolkit import Budget, CompressedEmbedding, LightTokenConfig, PaperConfig, compress
from toolkit.errors import BudgetError
from toolkit.methods.compress import METHODS
from toolkit.methods.direction import direction_loss
from toolkit.methods.lighttoken_paper.recipe import paper_layout
from toolkit.table.metrics import compare, mean_cosine

Table = NDArray[np.float32]


@pytest.fixture(scope="module")
def tables(small_table: Table) -> dict[str, CompressedEmbedding]:
    return {method: compress(small_table, Budget(ratio=5), method=method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_meets_its_budget_and_beats_the_mean(tables, small_table: Table, method: str):
    assert tables[method].ratio >= 5
    if method != "direction":  # its schedule counts passes over the rows, and here they are few
        assert compare(small_table, tables[method].dense()).relative_error < 0.9


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_stored_and_read_back(tables, tmp_path, method: str):
    tables[method].save(tmp_path / "table")
    again = CompressedEmbedding.load(tmp_path / "table")
    assert np.array_equal(again.dense(), tables[method].dense())


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bytes(tables, small_table: Table, method: str):
    again = compress(small_table, Budget(ratio=5), method=method)
    assert again.to_bytes() == tables[method].to_bytes()


def test_the_default_is_the_best_of_them(tables, small_table: Table):
    errors = {m: compare(small_table, e.dense()).relative_error for m, e in tables.items()}
    assert min(errors, key=lambda m: errors[m]) == "lighttoken"


def test_svd_in_float32_is_the_best_of_its_rank(tables, small_table: Table):
    embedding = tables["svd-fp32"]
    rank = embedding.lowrank.rank
    centred = small_table - small_table.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    best = (singular[rank:] ** 2).sum() / (singular**2).sum()
    assert compare(small_table, embedding.dense()).relative_error == pytest.approx(best, rel=1e-3)


def test_int8_factors_buy_more_rank(tables):
    assert tables["svd"].lowrank.rank >= 3 * tables["svd-fp32"].lowrank.rank


def test_direction_loss_by_hand():
    target, output = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    loss = direction_loss(target, output, alpha=1.0)
    assert float(loss) == pytest.approx(0.9975 / 5 * (1 - 24 / 25) + 0.0025 * 1.0)


def test_direction_learns_what_svd_finds():
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(8000, 16)) * np.linspace(2, 0.1, 16) + rng.normal(size=16)
    tall = (0.05 * tall).astype(np.float32)  # the loss weights suit values of a model's size
    quality = {
        method: compare(tall, compress(tall, Budget(ratio=2.5), method=method).dense())
        for method in ("direction", "svd-fp32")
    }
    assert quality["direction"].mean_cosine > 0.98 * quality["svd-fp32"].mean_cosine
    assert quality["direction"].relative_error < 1.3 * quality["svd-fp32"].relative_error


def test_the_paper_keeps_float32_and_no_tiers(tables):
    embedding = tables["lighttoken-paper"]
    assert embedding.lowrank.left.dtype == np.float32
    (stage,) = embedding.stages
    assert stage.rows == embedding.rows
    assert stage.decoder.weight.dtype == np.float32


def test_the_papers_ablations_switch():
    assert paper_layout(30522, 384, Budget(ratio=25), None)[0] >= 1
    assert paper_layout(30522, 384, Budget(ratio=25), 0)[0] == 0
    with_rank = paper_layout(30522, 384, Budget(ratio=25), None)[1]
    assert paper_layout(30522, 384, Budget(ratio=25), 0)[1] > with_rank


def test_one_stage_is_worse_than_three(small_table: Table):
    errors = [
        compare(
            small_table,
            compress(
                small_table,
                Budget(ratio=5),
                method="lighttoken-paper",
                config=PaperConfig(autoencoder_stages=stages),
            ).dense(),
        ).relative_error
        for stages in (1, 3)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_that_cannot_be_met_names_one_that_can(small_table: Table, method: str):
    with pytest.raises(BudgetError) as failure:
        compress(small_table, Budget(ratio=3000), method=method)
    nearest = float(str(failure.value).rsplit("ratio ", 1)[1])
    assert compress(small_table, Budget(ratio=nearest - 0.1), method=method).ratio >= nearest - 0.1


def test_min_cosine_finds_a_small_table_that_keeps_it(small_table: Table):
    config = LightTokenConfig(rounds=1)
    weights = np.ones(len(small_table))

    def keep(cosine: float) -> CompressedEmbedding:
        budget = Budget(min_cosine=cosine)
        return compress(small_table, budget, importance=weights, config=config)

    loose, tight = keep(0.98), keep(0.995)
    assert 0.98 <= mean_cosine(small_table, loose.dense(), weights) < 0.995
    assert mean_cosine(small_table, tight.dense(), weights) >= 0.995
    assert tight.nbytes > loose.nbytes


def test_a_cosine_out_of_reach_says_what_is_reached(small_table: Table):
    wanted = Budget(min_cosine=1 - 1e-8)  # svd's factors are int8, at any size
    with pytest.raises(BudgetError, match=r"ratio 1\.5 reaches"):
        compress(small_table, wanted, method="svd")


def test_a_cosine_is_never_above_one(small_table: Table):
    weights = np.ones(len(small_table))
    assert 1 - 1e-12 < mean_cosine(small_table, small_table * np.float32(3), weights) <= 1
