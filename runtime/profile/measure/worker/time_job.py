"""Load, first result, latency, throughput, energy."""

import gc
import time
from typing import Any

import numpy as np
import onnxruntime as ort

from ..job import Job
from .energy import joules, read_counters
from .session import Feeder, open_model, runtime_name

Figures = dict[str, float]


def measure(job: Job) -> dict[str, Any]:
    """Everything, at every point of the grid."""
    session, figures, feeder = _start(job)
    for batch, length in job.grid:
        figures |= _calls(session, feeder, batch, length, job)
    return {"runtime": runtime_name(), "figures": figures}


def measure_load(job: Job) -> dict[str, Any]:
    """Load and first result alone; the files have not been read since they left the page cache."""
    figures = _start(job)[1]
    cold = {f"cold_{name}": value for name, value in figures.items()}
    return {"runtime": runtime_name(), "figures": cold}


def _start(job: Job) -> tuple[ort.InferenceSession, Figures, Feeder]:
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    session = open_model(job)
    loaded = time.perf_counter()
    feeder = Feeder(session, job)
    feeds = feeder.next(*job.grid[0])
    first = time.perf_counter()
    session.run(None, feeds)
    answered = time.perf_counter()
    figures = {
        "load_ms": 1e3 * (loaded - start),
        "first_result_ms": 1e3 * (loaded - start + answered - first),
    }
    return session, figures, feeder


def _calls(
    session: ort.InferenceSession, feeder: Feeder, batch: int, length: int, job: Job
) -> Figures:
    for _ in range(job.warmup):
        session.run(None, feeder.next(batch, length))
    taken = []
    before = read_counters()
    for _ in range(job.runs):
        feeds = feeder.next(batch, length)
        start = time.perf_counter()
        session.run(None, feeds)
        taken.append(time.perf_counter() - start)
    spent = joules(before, read_counters())
    at = f"{batch}x{length}"
    figures = {
        f"latency_{at}_p{share}_ms": 1e3 * float(np.percentile(taken, share))
        for share in (50, 95, 99)
    }
    figures[f"throughput_{at}_tokens_s"] = batch * length * job.runs / sum(taken)
    if spent is not None:
        figures[f"energy_{at}_mj"] = 1e3 * spent / job.runs
    return figures
