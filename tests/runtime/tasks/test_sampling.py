import numpy as np
import pytest

from runtime.tasks.sampling import Sampler, Sampling
from toolkit.errors import InputError


def drawn(logits, count=4000, **options):
    """How often each token is drawn."""
    sampler = Sampler(Sampling(**options))
    found = [sampler.choose(np.asarray(logits, np.float32)) for _ in range(count)]
    return np.bincount(found, minlength=len(logits)) / count


def test_without_temperature_the_likeliest_is_taken():
    assert Sampler(Sampling()).choose(np.array([0.1, 3.0, 2.9], np.float32)) == 1


def test_shares_are_those_of_the_softmax():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    assert drawn(np.log(shares), temperature=1.0) == pytest.approx(shares, abs=0.03)


def test_temperature_flattens():
    logits = np.log([0.8, 0.2])
    assert drawn(logits, temperature=2.0)[1] == pytest.approx(1 / 3, abs=0.03)
    assert drawn(logits, temperature=0.1)[1] < 0.01


def test_top_k_leaves_so_many():
    found = drawn(np.log([0.1, 0.4, 0.3, 0.2]), temperature=1.0, top_k=2)
    assert found == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)


def test_top_p_leaves_the_fewest_that_have_the_share():
    shares = [0.1, 0.4, 0.3, 0.2]
    found = drawn(np.log(shares), temperature=1.0, top_p=0.65)
    assert found == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert drawn(np.log(shares), temperature=1.0, top_p=1e-9)[1] == 1


def test_a_nucleus_wider_than_what_is_sorted_first():
    """All tokens alike: 90% of 20,000 are in the nucleus."""
    sampler = Sampler(Sampling(temperature=1.0, top_p=0.9))
    found = [sampler.choose(np.zeros(20_000, np.float32)) for _ in range(300)]
    assert max(found) < 18_001
    assert max(found) > 15_000


def test_equal_seeds_draw_alike():
    logits = np.zeros(50, np.float32)
    one, two, other = (Sampler(Sampling(1.0, seed=seed)) for seed in (3, 3, 4))
    draws = [[sampler.choose(logits) for _ in range(20)] for sampler in (one, two, other)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"temperature": -1.0}, "temperature must be at least 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be at least 0, got nan"),
        ({"top_k": -2}, "top_k must be at least 0, got -2"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_values_out_of_range(options, line):
    with pytest.raises(InputError, match=line):
        Sampling(**options)
