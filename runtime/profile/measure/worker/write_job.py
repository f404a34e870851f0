"""A decoder at work: load, first token, tokens a second, and how fast this memory is."""

import gc
import statistics
import threading
import time
from typing import Any

import numpy as np

from runtime.tasks.steps import Steps

from ..job import Job
from .energy import joules, read_counters
from .session import Feeder, open_model, runtime_name

_COPIED = 1 << 28  # bytes of each of two arrays: more than caches hold
_COPIES = 4


def measure(job: Job) -> dict[str, Any]:
    """Everything, after prompts of each length of the grid.

    A prompt is drawn, its first token taken, and ``job.tokens`` more are written, the likeliest
    each time; that is done ``job.runs`` times, after ``job.warmup`` untimed ones. A text is
    written on where the model would end it.
    """
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    session = open_model(job)
    loaded = time.perf_counter()
    feeder = Feeder(session, job)
    figures = {"load_ms": 1e3 * (loaded - start)}
    for _, length in job.grid:
        for _ in range(job.warmup):
            first, _ = _write(_begin(session, job, feeder), feeder.draw(length), 1)
            figures.setdefault("first_result_ms", figures["load_ms"] + 1e3 * first)
        firsts, rest = [], 0.0
        before = read_counters()
        for _ in range(job.runs):
            first, later = _write(_begin(session, job, feeder), feeder.draw(length), job.tokens)
            figures.setdefault("first_result_ms", figures["load_ms"] + 1e3 * first)
            firsts.append(first)
            rest += later
        spent = joules(before, read_counters())
        figures[f"first_token_{length}_ms"] = 1e3 * statistics.median(firsts)
        figures[f"writing_{length}_tokens_s"] = job.runs * job.tokens / rest
        if spent is not None:
            figures[f"energy_text_{length}_mj"] = 1e3 * spent / job.runs
    speed = copy_speed(job.threads)
    if speed is not None:
        figures["copy_bytes_s"] = speed
    return {"runtime": runtime_name(), "figures": figures}


def _begin(session: Any, job: Job, feeder: Feeder) -> Steps:
    return Steps(session, feeder.ids_input, job.model)


def _write(text: Steps, prompt: list[int], tokens: int) -> tuple[float, float]:
    """Seconds to the first token, and for so many more."""
    start = time.perf_counter()
    latest = int(text.step(prompt).argmax())
    first = time.perf_counter()
    for _ in range(tokens):
        latest = int(text.step([latest]).argmax())
    return first - start, time.perf_counter() - first


def copy_speed(threads: int, nbytes: int = _COPIED) -> float | None:
    """Bytes a second of a plain copy, read and written; the best of a few.

    Each thread copies its share of an array that no cache holds. None without memory for it.
    """
    try:
        source = np.ones(nbytes, np.uint8)
        target = np.zeros(nbytes, np.uint8)
    except MemoryError:
        return None
    shares = list(
        zip(np.array_split(target, threads), np.array_split(source, threads), strict=True)
    )
    best = np.inf
    for _ in range(_COPIES):
        workers = [threading.Thread(target=np.copyto, args=share) for share in shares]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    return 2 * nbytes / float(best)
