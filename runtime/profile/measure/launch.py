"""Start a measuring process and read its answer."""

import os
import signal
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace

from toolkit.errors import InputError
from toolkit.json_files import last_json
from toolkit.processes import end_group
from toolkit.signals import uninterrupted
from toolkit.temporary import temporary_folder

from ..browser import run_in_browser
from ..places import Place, find_place
from .carry import MODULE, carry
from .job import Answer, Job
from .watch import Watch


@dataclass(frozen=True)
class Outcome:
    """An answer, and the process's RSS as it was seen from outside.

    Attributes:
        samples: (seconds of the monotonic clock, bytes); empty where nobody watched.
    """

    answer: Answer
    samples: tuple[tuple[float, int], ...] = ()


class Launcher:
    """Starts processes; keeps the worker's files in a folder for as long as it is open."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._references: dict[str, Answer] = {}

    def __enter__(self) -> "Launcher":
        with ExitStack() as folders:
            self._folder = folders.enter_context(temporary_folder("lighttoken-"))
            self._temporary = folders.enter_context(temporary_folder("lighttoken-"))  # processes'
            carry(self._folder)
            self._folders = folders.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.close()

    def reference(self, job: Job) -> Answer:
        """What the job's file gives for its ids on the CPU, by standard operators; asked once.

        Raises:
            InputError: as :meth:`run`.
        """
        cpu = find_place("cpu")
        plain = replace(
            job, provider=cpu.provider, settings={}, plugin="", library="", dimensions={}
        )
        key = plain.to_json()
        if key not in self._references:
            self._references[key] = self.run(cpu, plain).answer
        return self._references[key]

    def run(self, place: Place, job: Job, *, watch: bool = False) -> Outcome:
        """Measure in a fresh process at ``place``.

        Raises:
            InputError: the process found the model unusable, crashed, or took longer than the
                timeout.
        """
        if place.in_browser:
            return Outcome(run_in_browser(job, self._timeout_s))
        process: subprocess.Popen[str] | None = None
        try:
            with uninterrupted():
                process = self._start(place)
            stdout, stderr, samples, overdue = self._ask(process, job, watch)
        finally:
            if process is not None:  # an exception may have come while it ran
                end_group(process)
        if overdue:
            raise InputError(
                f"measuring {job.model} took longer than {self._timeout_s:g} s; "
                "ask for fewer runs or shorter texts"
            )
        told = last_json(stdout)
        if process.returncode == 0 and isinstance(told.get("answer"), dict):
            return Outcome(Answer.from_dict(told["answer"]), samples)
        if isinstance(told.get("error"), str):
            raise InputError(f"measuring failed: {told['error']}")
        raise InputError(
            f"the process that measured {job.model} {_ending(process.returncode, stderr)}"
        )

    def _start(self, place: Place) -> "subprocess.Popen[str]":
        folder = str(self._folder)
        try:
            return subprocess.Popen(
                [place.python, "-P", "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                # Its files alone, not the working folder: something else could have their names.
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([folder, *place.path]),
                    "TMPDIR": str(self._temporary),
                },
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(f"{place.python} does not start ({error.strerror})") from error

    def _ask(
        self, process: "subprocess.Popen[str]", job: Job, watch: bool
    ) -> tuple[str, str, tuple[tuple[float, int], ...], bool]:
        """What it prints on stdout and stderr, its RSS over time, and whether it took too long."""
        watcher = Watch(process.pid) if watch else None
        timer = threading.Timer(self._timeout_s, process.kill)
        timer.daemon = True  # a signal may come between any two lines, and Python waits for others
        try:
            timer.start()
            if watcher is not None:
                watcher.start()
            stdout, stderr = process.communicate(job.to_json())
        finally:
            overdue = not timer.is_alive()
            timer.cancel()
            if watcher is not None:
                watcher.stop()
        return stdout, stderr, tuple(watcher.samples) if watcher is not None else (), overdue


def _ending(status: int, stderr: str) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"was ended by {name}; is there memory enough for the model?"
    last = " ".join(stderr.strip().rsplit("\n", 1)[-1].split())[:300]
    return f"failed with status {status} ({last or 'no message'}); report this"
