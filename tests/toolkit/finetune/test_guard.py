import numpy as np
import pytest
import torch

from toolkit import Budget, compress
from toolkit.finetune import CompressedEmbedding
from toolkit.finetune.guard import Guard

ROWS, WIDTH = 300, 16


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


@pytest.fixture
def layer(table):
    return CompressedEmbedding(compress(table, Budget(ratio=8)))


def guard_of(table, **changes):
    settings = {"root": torch.eye(WIDTH), "weights": torch.ones(ROWS), "strength": 1.0} | changes
    return Guard(torch.from_numpy(table), **settings)


def test_loss_is_the_relative_error_of_the_drawn_rows(table, layer):
    error = ((layer.dense().numpy() - table) ** 2).sum() / ((table - table.mean(0)) ** 2).sum()
    assert guard_of(table, rows=20_000).loss(layer, 0).item() == pytest.approx(error, rel=0.05)


def test_exact_rows_lose_nothing_and_strength_scales(table, layer):
    decoded = layer.dense().numpy()
    assert guard_of(decoded).loss(layer, 0).item() == pytest.approx(0, abs=1e-9)
    whole, half = (guard_of(table, strength=s).loss(layer, 0).item() for s in (1.0, 0.5))
    assert half == pytest.approx(whole / 2)


def test_only_rows_with_weight_are_drawn(table, layer):
    spoilt = table.copy()
    spoilt[ROWS // 2 :] += 100
    weights = torch.ones(ROWS)
    weights[ROWS // 2 :] = 0
    kept = guard_of(spoilt, weights=weights).loss(layer, 0).item()
    assert kept < 1.2
    assert guard_of(spoilt).loss(layer, 0).item() > kept


def test_errors_count_in_the_metric(table, layer):
    deaf = torch.zeros(WIDTH, WIDTH)
    deaf[0, 0] = 1.0
    off = table.copy()
    off[:, 1:] += np.random.default_rng(1).normal(size=(ROWS, WIDTH - 1))
    same = guard_of(table, root=deaf).loss(layer, 0).item()
    assert guard_of(off, root=deaf).loss(layer, 0).item() == pytest.approx(same)


def test_steps_draw_anew_and_again_alike(table, layer):
    guard = guard_of(table, rows=32)
    first, second = (guard.loss(layer, step).item() for step in (0, 1))
    assert first != second
    assert guard.loss(layer, 0).item() == first


def test_rows_of_models_that_scale_are_compared_without_the_factor(table):
    packed = compress(table, Budget(ratio=8))
    plain, scaled = (CompressedEmbedding(packed, factor) for factor in (1.0, 5.0))
    guard = guard_of(table)
    assert guard.loss(scaled, 0).item() == pytest.approx(guard.loss(plain, 0).item(), rel=1e-4)
