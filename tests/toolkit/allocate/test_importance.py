import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toolkit.allocate.importance import check_importance, order_rows, zipf_prior
from toolkit.errors import InputError

weights_of_rows = hnp.arrays("float64", st.integers(1, 60), elements=st.floats(0, 1e6)).filter(
    lambda weights: weights.sum() > 0
)


@given(st.integers(1, 5000))
def test_the_prior_falls_and_sums_to_one(rows):
    prior = zipf_prior(rows)
    assert prior.shape == (rows,)
    assert prior.sum() == pytest.approx(1)
    assert (np.diff(prior) < 0).all()


@given(weights_of_rows, st.integers(1, 9))
def test_positions_are_a_permutation_whose_weights_fall(weights, block):
    order, ids, position_weights = order_rows(check_importance(weights, len(weights)), block)
    np.testing.assert_array_equal(np.sort(ids), np.arange(len(weights)))
    assert (np.diff(position_weights) <= 0).all()
    assert position_weights.sum() > 0
    assert np.isfinite(position_weights).all()
    every_id = np.arange(len(weights), dtype=np.int32)
    positions = every_id if order is None else order.positions(every_id)
    np.testing.assert_array_equal(ids[positions], every_id)


@given(weights_of_rows, st.integers(1, 9))
def test_blocks_stand_in_order_of_their_mean_weight(weights, block):
    _, ids, position_weights = order_rows(weights, block)
    for position, id_ in enumerate(ids):
        own_block = weights[id_ // block * block : (id_ // block + 1) * block]
        assert position_weights[position] == pytest.approx(own_block.mean(), rel=1e-9)


def test_rows_in_order_of_weight_need_no_order():
    assert order_rows(zipf_prior(200), 64)[0] is None


def test_a_short_last_block_stands_where_its_weight_puts_it():
    weights = np.array([1.0, 1, 2, 2, 9])
    order, ids, position_weights = order_rows(weights, 2)
    assert ids.tolist() == [4, 2, 3, 0, 1]
    assert order.starts.tolist() == [3, 1, 0]
    assert order.positions(np.arange(5, dtype=np.int32)).tolist() == [3, 4, 1, 2, 0]
    assert position_weights.tolist() == [9, 2, 2, 1, 1]


def test_importance_is_scaled_to_sum_one():
    assert check_importance([1, 3], 2).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("importance", "message"),
    [
        ([1.0, 2.0], r"one weight a row \(3\), got \(2,\)"),
        ([[1.0], [1.0], [1.0]], r"one weight a row \(3\)"),
        ([1.0, -1.0, 1.0], "not negative"),
        ([1.0, np.nan, 1.0], "must be finite"),
        ([1.0, np.inf, 1.0], "must be finite"),
        ([0.0, 0.0, 0.0], "not all zero"),
        (["a", "b", "c"], "one number a row"),
    ],
)
def test_importance_that_cannot_be_used_is_refused(importance, message):
    with pytest.raises(InputError, match=message):
        check_importance(importance, 3)
