import dataclasses

import pytest

from toolkit import LightTokenConfig, PaperConfig
from toolkit.errors import InputError
from toolkit.methods.config import EFFORTS


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LightTokenConfig, "sample_rows"),
        (PaperConfig, "autoencoder_stages"),
        (PaperConfig, "epochs"),
        (PaperConfig, "epoch_rows"),
        (PaperConfig, "batch_rows"),
    ],
)
def test_counts_start_at_one(config, name):
    config(**{name: 1})
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        config(**{name: 0})


@pytest.mark.parametrize(("config", "name"), [(LightTokenConfig, "rounds"), (PaperConfig, "rank")])
def test_rounds_and_rank_may_be_zero_but_not_less(config, name):
    config(**{name: 0})
    with pytest.raises(InputError, match=f"{name} must be at least 0, got -1"):
        config(**{name: -1})


@pytest.mark.parametrize(
    ("config", "name", "least", "most"),
    [
        (LightTokenConfig, "length_power", 0, 2),
        (LightTokenConfig, "most_stages", 0, 6),
        (PaperConfig, "saturation_limit", 0, 1),
    ],
)
def test_values_lie_within_their_bounds(config, name, least, most):
    config(**{name: least})
    config(**{name: most})
    for wrong in (least - 1, most + 1):
        with pytest.raises(InputError, match=f"{name} must be from {least} to {most}, got {wrong}"):
            config(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"), [("learning_rate", 0), ("temperature", (1.0, 0.0)), ("angle_power", 0.5)]
)
def test_the_papers_schedule_must_make_sense(name, wrong):
    with pytest.raises(InputError, match=f"{name} must be"):
        PaperConfig(**{name: wrong})


def test_the_angle_power_starts_at_the_euclidean_loss():
    assert PaperConfig(angle_power=1).angle_power == 1


def test_efforts_differ_in_how_long_they_search():
    fast, normal, best = map(LightTokenConfig.of_effort, ("fast", "normal", "best"))
    assert set(EFFORTS) == {"fast", "normal", "best"}
    assert normal == LightTokenConfig()
    assert fast.rounds < normal.rounds < best.rounds
    assert best.sample_rows >= normal.sample_rows


def test_an_unknown_effort_is_refused():
    with pytest.raises(InputError, match=r"'lazy' is unknown; choose from fast, normal, best"):
        LightTokenConfig.of_effort("lazy")


@pytest.mark.parametrize("config", [LightTokenConfig(), PaperConfig()])
def test_a_config_cannot_change_under_way(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rounds = 3
