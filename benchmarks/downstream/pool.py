"""The jobs of benchmarks/downstream, one after another or in several processes."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING

import torch
from downstream.results import Row
from downstream.train import quiet

from toolkit.errors import InputError

if TYPE_CHECKING:
    from downstream.run import Job, Run
    from downstream.tables import Arm


def work_through(run: "Run", jobs: "Sequence[Job]") -> "Iterator[tuple[Job, Row]]":
    """Each job with what came of it, as soon as it is done."""
    if run.processes == 1:
        for job in jobs:
            yield job, run.do(job)
        return
    context = get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(run.processes, context, initializer=_start, initargs=(run,)) as pool:
        # Tables first, each made by one process alone.
        list(pool.map(_prepare, dict.fromkeys(job.arm for job in jobs)))
        waiting = {pool.submit(_do, job): job for job in jobs}
        for done in as_completed(waiting):
            try:
                yield waiting[done], done.result()
            except BrokenProcessPool as error:
                raise InputError(
                    f"one of {run.processes} processes was ended from outside, as the system does "
                    "where memory runs out; run again with fewer --processes"
                ) from error


_runs: "list[Run]" = []  # the one that this process works for


def _start(run: "Run") -> None:
    quiet()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // run.processes))
    _runs.append(run)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Minutes of work that nobody waits for any more are not worth finishing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare(arm: "Arm") -> None:
    _runs[0].prepare(arm)


def _do(job: "Job") -> Row:
    return _runs[0].do(job)
