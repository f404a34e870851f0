import pytest

from toolkit.allocate.budget import Budget
from toolkit.errors import InputError


@pytest.mark.parametrize(
    "arguments", [{}, {"ratio": 25, "max_bytes": 10}, {"ratio": 25, "min_cosine": 0.9}]
)
def test_a_budget_is_a_ratio_or_bytes_or_a_cosine(arguments):
    with pytest.raises(InputError, match="one of them"):
        Budget(**arguments)


@pytest.mark.parametrize("ratio", [0.5, -1, float("nan"), float("inf")])
def test_a_ratio_is_a_number_from_one_up(ratio):
    with pytest.raises(InputError, match="from 1 up"):
        Budget(ratio=ratio)


@pytest.mark.parametrize("max_bytes", [0, -5])
def test_bytes_are_positive(max_bytes):
    with pytest.raises(InputError, match="must be positive"):
        Budget(max_bytes=max_bytes)


@pytest.mark.parametrize("cosine", [0, 1, -0.5, 2])
def test_a_cosine_lies_between_none_and_all(cosine):
    with pytest.raises(InputError, match="between 0 and 1"):
        Budget(min_cosine=cosine)


def test_bytes_of_a_ratio_round_down():
    assert Budget(ratio=3).bytes_for(5, 2) == 13
    assert Budget(max_bytes=99).bytes_for(5, 2) == 99
    with pytest.raises(InputError, match="no bytes until"):
        Budget(min_cosine=0.9).bytes_for(5, 2)
