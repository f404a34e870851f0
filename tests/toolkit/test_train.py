import dataclasses

import numpy as np
import pytest

from toolkit import LightTokenConfig
from toolkit.budget import Layout
from toolkit.embedding import DenseDecoder, DiagonalDecoder
from toolkit.importance import order_rows
from toolkit.train import train

QUICK = LightTokenConfig(epochs=1, refine_rounds=2)
LAYOUT = Layout(rank=2, bits=16, tiers=(300, 100), block=64, nbytes=0, expected_error=0.0)


def trained(table, layout, config=QUICK, progress=None):
    weights = np.random.default_rng(0).random(len(table))
    order, ids, position_weights = order_rows(weights / weights.sum(), 64)
    return train(table, ids, position_weights, order, layout, config, 0, progress)


def test_a_layout_is_filled_exactly(small_table):
    embedding = trained(small_table, LAYOUT)
    dense, *planes = embedding.stages
    assert isinstance(dense.decoder, DenseDecoder)
    assert (dense.rows, dense.bits) == (707, 16)
    assert all(isinstance(plane.decoder, DiagonalDecoder) for plane in planes)
    assert [plane.rows for plane in planes] == [300, 100]
    assert embedding.lowrank.rank == 2


@pytest.mark.parametrize(
    "parts", [{"bits": 0}, {"rank": 0}, {"tiers": ()}, {"bits": 0, "tiers": ()}], ids=str
)
def test_every_part_lowers_the_error(small_table, parts):
    def error(layout):
        return ((trained(small_table, layout).dense() - small_table) ** 2).sum()

    without = error(dataclasses.replace(LAYOUT, **parts))
    assert error(LAYOUT) < without < ((small_table - small_table.mean(axis=0)) ** 2).sum()


def test_the_decoder_serves_important_rows_first(small_table):
    layout = dataclasses.replace(LAYOUT, rank=0, tiers=(), block=0)
    ids = np.arange(len(small_table))

    def error_of_the_first(weights):
        embedding = train(small_table, ids, weights, None, layout, QUICK, 0, None)
        return ((embedding.dense()[:64] - small_table[:64]) ** 2).sum()

    first = np.where(ids < 64, 1.0, 1e-4)
    assert error_of_the_first(first) < 0.9 * error_of_the_first(np.ones(len(ids)))


@pytest.mark.parametrize("tiers", [(), (300,)])
def test_progress_ends_at_one(small_table, tiers):
    told = []
    layout = dataclasses.replace(LAYOUT, tiers=tiers)
    trained(small_table, layout, progress=lambda share, _: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
