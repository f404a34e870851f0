import os
import signal
import tempfile
import threading

import pytest

from toolkit.signals import Stopped, raise_on_signals, uninterrupted


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_becomes_an_exception_and_the_next_one_does_not_disturb(number):
    raise_on_signals()
    with pytest.raises(Stopped) as stopped:
        send(number)
    assert (stopped.value.number, stopped.value.code) == (number, 128 + number)
    send(number)
    send(signal.SIGINT)


@pytest.mark.usefixtures("handlers")
def test_it_waits_while_something_may_not_be_interrupted():
    raise_on_signals()
    done = []

    def work():
        with uninterrupted():
            send(signal.SIGTERM)
            done.append("first")
            with uninterrupted():
                done.append("second")

    with pytest.raises(Stopped):
        work()
    assert done == ["first", "second"]


def test_ctrl_c_waits_without_our_handlers_too():
    done = []

    def work():
        with uninterrupted():
            send(signal.SIGINT)
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_just_runs():
    done = []

    def work():
        with uninterrupted():
            done.append(threading.current_thread())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [thread]


@pytest.mark.usefixtures("handlers")
def test_the_folder_for_temporary_files_is_known_before_signals_raise(monkeypatch, tmp_path):
    """Python finds it by writing a file there, which an exception would leave behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    raise_on_signals()
    assert tempfile.tempdir == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
