from toolkit.progress import Meter


def shares(epochs, rounds, *, epochs_run=None):
    told = []
    meter = Meter(lambda share, what: told.append((share, what)), epochs, rounds)
    for _ in range(epochs if epochs_run is None else epochs_run):
        meter.epoch_done()
    for _ in range(rounds):
        meter.round_done()
    return [share for share, _ in told], [what for _, what in told]


def test_the_share_rises_to_one():
    told, words = shares(epochs=4, rounds=3)
    assert told == sorted(set(told))
    assert told[-1] == 1.0
    assert words == ["training the binary autoencoders"] * 4 + ["refining codes and decoder"] * 3


def test_stages_that_stop_early_do_not_hold_it_back():
    told, _ = shares(epochs=10, rounds=2, epochs_run=3)
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_nobody_has_to_listen():
    meter = Meter(None, 1, 1)
    meter.epoch_done()
    meter.round_done()
