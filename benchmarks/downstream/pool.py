"""The jobs of a run, one after another or in several processes."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Protocol

import torch
from downstream.results import Row
from downstream.tables import Arm
from downstream.train import quiet

from toolkit.errors import InputError


@dataclass(frozen=True)
class Job:
    """One figure: of ``arm`` before any training, or after one on ``task`` by ``seed``."""

    arm: Arm
    task: str | None = None
    seed: int | None = None


class Worker(Protocol):
    """Does jobs; ``processes`` at a time, each with a copy of the worker."""

    @property
    def processes(self) -> int:
        """At least 1."""

    def prepare(self, arm: Arm) -> None:
        """Make what every job of an arm needs; an arm is prepared once, before its jobs."""

    def do(self, job: Job) -> Row:
        """The job's figures, or what went wrong."""


def work_through(worker: Worker, jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
    """Each job with what came of it, as soon as it is done."""
    if worker.processes == 1:
        for job in jobs:
            yield job, worker.do(job)
        return
    context = get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(
        worker.processes, context, initializer=_start, initargs=(worker,)
    ) as pool:
        # Tables first, each made by one process alone.
        list(pool.map(_prepare, dict.fromkeys(job.arm for job in jobs)))
        waiting = {pool.submit(_do, job): job for job in jobs}
        for done in as_completed(waiting):
            try:
                yield waiting[done], done.result()
            except BrokenProcessPool as error:
                raise InputError(
                    f"one of {worker.processes} processes was ended from outside, as the system "
                    "does where memory runs out; run again with fewer --processes"
                ) from error


_workers: list[Worker] = []  # the one of this process


def _start(worker: Worker) -> None:
    quiet()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // worker.processes))
    _workers.append(worker)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Minutes of work that nobody waits for any more are not worth finishing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare(arm: Arm) -> None:
    _workers[0].prepare(arm)


def _do(job: Job) -> Row:
    return _workers[0].do(job)
