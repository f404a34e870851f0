"""Processes that measure, and signals that come while they are started."""

import signal
import subprocess
import sys
import threading

import pytest

from runtime.profile.measure import launch
from toolkit.signals import Stopped


class AnyJob:
    """All that is asked of one here."""

    def to_json(self):
        return ""


@pytest.mark.parametrize("of", [threading.Timer, launch.Watch])
def test_a_signal_before_the_answer_holds_nothing_up(monkeypatch, of):
    """Nor does the timer, which kills what takes too long: Python waits for threads at its end."""
    start = of.start

    def interrupted(self):
        start(self)
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(of, "start", interrupted)
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE
    )
    try:
        with launch.Launcher(timeout_s=60) as launcher, pytest.raises(Stopped):
            launcher._ask(process, AnyJob(), watch=True)
    finally:
        process.kill()
        process.communicate()
    left = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(thread.daemon or thread.finished.is_set() for thread in left)
