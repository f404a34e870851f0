"""Outputs for given ids, to be compared with those of another place."""

import base64
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from runtime.tasks.steps import Steps

from ..job import Job
from .session import Feeder, open_model, runtime_name

_MOST_STEPS = 4  # their logits travel as JSON


def measure(job: Job) -> dict[str, Any]:
    """Every output of one call on ``job.ids``; of a decoder the logits of steps through them."""
    session = open_model(job)
    if job.tokens:
        return {"runtime": runtime_name(), "outputs": _steps(session, job)}
    feeds = Feeder(session, job).of(np.array(job.ids, np.int64))
    names = [output.name for output in session.get_outputs()]
    found = {}
    for name, value in zip(names, session.run(None, feeds), strict=True):
        if value.dtype.kind == "f":
            found[name] = _told(value)
    return {"runtime": runtime_name(), "outputs": found}


def _steps(session: ort.InferenceSession, job: Job) -> dict[str, Any]:
    """The logits after the first half of a text, and after each token of the rest."""
    text = Steps(session, Feeder(session, job).ids_input, job.model)
    ids = list(job.ids[0])
    half = max(1, len(ids) // 2)
    pieces = [ids[:half], *([id_] for id_ in ids[half : half + _MOST_STEPS])]
    return {f"logits after step {n}": _told(text.step(piece)) for n, piece in enumerate(pieces, 1)}


def _told(values: NDArray[Any]) -> dict[str, Any]:
    data = np.ascontiguousarray(values, "<f4").tobytes()
    return {"dims": list(values.shape), "data": base64.b64encode(data).decode()}
