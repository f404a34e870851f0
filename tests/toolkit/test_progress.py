import pytest

from toolkit.progress import Meter, part


def shares(rounds, *, done):
    told = []
    meter = Meter(lambda share, what: told.append((share, what)), rounds, "thinking")
    for _ in range(done):
        meter.round_done()
    assert {what for _, what in told} == {"thinking"}
    return [share for share, _ in told]


def test_the_share_rises_evenly_from_nothing_to_one():
    assert shares(4, done=4) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_the_beginning_is_told_at_once():
    assert shares(4, done=0) == [0.0]


@pytest.mark.parametrize(("rounds", "done"), [(2, 5), (0, 1)])
def test_more_rounds_than_expected_stay_at_one(rounds, done):
    told = shares(rounds, done=done)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert max(told) == 1.0


def test_there_is_a_word_for_it_by_default():
    told = []
    Meter(lambda _, what: told.append(what), 1)
    assert told[0]
    assert "\n" not in told[0]


def test_nobody_has_to_listen():
    Meter(None, 1).round_done()


def test_a_part_of_the_work_goes_from_one_share_to_another():
    told = []
    report = part(lambda share, what: told.append((share, what)), 0.5, 0.75)
    for share in (0.0, 0.5, 1.0):
        report(share, "packing")
    assert told == [(0.5, "packing"), (0.625, "packing"), (0.75, "packing")]
    part(None, 0, 1)(0.5, "packing")  # nobody is told
