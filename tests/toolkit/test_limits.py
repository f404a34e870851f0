"""Whole numbers that options take."""

import pytest

from exporters.options import ExportOptions
from toolkit import limits
from toolkit.errors import InputError


@pytest.mark.parametrize("value", [0, 7, 2**32 - 1])
def test_what_lies_inside(value):
    limits.SEED.check("seed", value)
    assert ExportOptions(seed=value).seed == value


@pytest.mark.parametrize(
    "options",
    [{"seed": 10**23}, {"seed": -1}, {"batch": 0, "sequence": 8}, {"batch": 10**5, "sequence": 8},
     {"batch": 4096, "sequence": 2**20}, {"heal_steps": -1}, {"head_bytes": 0}],
)  # fmt: skip
def test_an_export_refuses_what_lies_outside(options):
    with pytest.raises(InputError, match=r"must be at (least|most)") as caught:
        ExportOptions(**options)
    assert "\n" not in str(caught.value)
