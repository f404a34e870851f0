import pytest

from toolkit import LightTokenConfig
from toolkit.errors import InputError


@pytest.mark.parametrize("name", ["autoencoder_stages", "epochs", "batch_rows", "flips"])
def test_counts_start_at_one(name):
    LightTokenConfig(**{name: 1})
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        LightTokenConfig(**{name: 0})


@pytest.mark.parametrize("name", ["refine_rounds", "rank"])
def test_rounds_and_rank_may_be_zero_but_not_less(name):
    LightTokenConfig(**{name: 0})
    with pytest.raises(InputError, match=f"{name} must be at least 0, got -1"):
        LightTokenConfig(**{name: -1})


def test_the_angle_power_starts_at_the_euclidean_loss():
    LightTokenConfig(angle_power=1)
    with pytest.raises(InputError, match="angle_power must be at least 1"):
        LightTokenConfig(angle_power=0.5)
