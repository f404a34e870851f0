"""Memory of the process, stage by stage, above that of a session of an empty model."""

import base64
import gc
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from runtime.tasks.steps import Steps

from ..job import Job
from .memory import Memory, peak_rss, reset_peak, snapshot
from .session import Feeder, open_model, options_of, runtime_name

# Identity of int64 ids, opset 13: with it the runtime allocates, before a model loads, what it
# allocates once.
EMPTY = base64.b64decode(
    "CAg6UwoXCgNpZHMSBHNhbWUiCElkZW50aXR5OgASBWVtcHR5WhcKA2lkcxIQCg4IBxIKCgMSAWIKAxIBc2IYCgRzYW1l"
    "EhAKDggHEgoKAxIBYgoDEgFzQgQKABAN"
)
_MOST_CALLS = 20  # a point; memory has settled by then
_MOST_TOKENS = 8  # written by a decoder at each length, for the same reason


def measure(job: Job) -> dict[str, Any]:
    """Memory before the load, after it, after the first run, in use, and its peaks.

    Marks are the ends of the stages; ``load`` begins at the mark ``before``. A decoder reads a
    prompt of each length, the shortest first, and writes a few tokens.
    """
    folder = Path(job.model).parent
    files = {str(folder / name) for name in job.data} | {job.model}
    empty = ort.InferenceSession(EMPTY, options_of(job), providers=["CPUExecutionProvider"])
    empty.run(None, {"ids": np.zeros((1, 1), np.int64)})
    gc.collect()
    snapshot(files)  # Python allocates what this needs on the first call
    reset_peak()
    before = snapshot(files)
    figures = _figures("before", Memory(0, 0, 0, 0, 0, 0), before)
    marks = [(time.monotonic(), "before")]

    session = open_model(job)
    marks.append((time.monotonic(), "load"))
    figures |= _figures("load", before, snapshot(files))
    figures |= _peak("load_peak_rss_bytes", before)

    feeder = Feeder(session, job)
    session.run(None, feeder.next(*job.grid[0]))
    marks.append((time.monotonic(), "first"))
    figures |= _figures("first", before, snapshot(files))

    for length in sorted(length for _, length in job.grid if job.tokens):
        figures |= _context(session, feeder, length, job, before, files)
    for batch, length in () if job.tokens else job.grid:
        for _ in range(min(job.warmup + job.runs, _MOST_CALLS)):
            session.run(None, feeder.next(batch, length))
    marks.append((time.monotonic(), "steady"))
    figures |= _figures("steady", before, snapshot(files))
    figures |= _peak("peak_rss_bytes", before)
    peak = peak_rss()
    if peak is not None:
        figures["peak_process_rss_bytes"] = peak
    return {"runtime": runtime_name(), "figures": figures, "marks": marks}


def _context(
    session: ort.InferenceSession,
    feeder: Feeder,
    length: int,
    job: Job,
    before: Memory,
    files: set[str],
) -> dict[str, float]:
    """Memory while a text of so many tokens goes on, and the most so far."""
    text = Steps(session, feeder.ids_input, job.model)
    latest = feeder.draw(length)
    for _ in range(1 + min(job.tokens, _MOST_TOKENS)):
        latest = [int(text.step(latest).argmax())]
    now = snapshot(files)  # the text still holds its cache
    return {
        f"writing_{length}_rss_bytes": now.rss - before.rss,
        **_peak(f"writing_{length}_peak_rss_bytes", before),
    }


def _figures(stage: str, before: Memory, after: Memory) -> dict[str, float]:
    kinds = ("rss", "own", "uss", "pss", "anonymous", "mapped", "library")
    pairs = {kind: (getattr(before, kind), getattr(after, kind)) for kind in kinds}
    return {
        f"{stage}_{kind}_bytes": new - old
        for kind, (old, new) in pairs.items()
        if old is not None and new is not None
    }


def _peak(name: str, before: Memory) -> dict[str, float]:
    peak = peak_rss()
    return {} if peak is None else {name: max(0, peak - before.rss)}
