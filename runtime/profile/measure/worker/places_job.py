"""Which provider takes which node, the time of each node, the memory of onnxruntime's arena."""

import json
import os
import re
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnxruntime as ort

from runtime.tasks.steps import Steps

from ..job import Job
from .session import Feeder, open_model, options_of, runtime_name

_CALLS = 10
_EXTENDED = re.compile(r"Extended allocation by (\d+) bytes")
_RESERVED = re.compile(r"Reserving memory in BFCArena for \w+ size: (\d+)")
_RECORD = "session.record_ep_graph_assignment_info"


def measure(job: Job) -> dict[str, Any]:
    """``facts`` has ``assigned``, from onnxruntime since 1.24, and ``profiled``.

    ``assigned`` is ``[[provider, [[operator, domain, node], ...]], ...]``, ``profiled`` is
    ``[[provider, operator, node, microseconds], ...]``, the median of a node's calls at the last
    point of the grid, of a decoder its steps over one token. Both as onnxruntime runs the graph,
    after its own rewriting.
    """
    batch, length = job.grid[-1]
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = options_of(job)
        options.add_session_config_entry(_RECORD, "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session, log = _logged(job, options, Path(folder) / "log", batch, length)
        profile = Path(session.end_profiling()).read_text(encoding="utf-8")
        facts["profiled"] = _node_times(json.loads(profile))
        if hasattr(session, "get_provider_graph_assignment_info"):
            facts["assigned"] = [
                [part.ep_name, [[n.op_type, n.domain, n.name] for n in part.get_nodes()]]
                for part in session.get_provider_graph_assignment_info()
            ]
    sizes = [int(size) for pattern in (_EXTENDED, _RESERVED) for size in pattern.findall(log)]
    figures = {"arena_total_bytes": float(sum(sizes))} if sizes else {}
    return {"runtime": runtime_name(), "figures": figures, "facts": facts}


def _logged(
    job: Job, options: ort.SessionOptions, path: Path, batch: int, length: int
) -> tuple[ort.InferenceSession, str]:
    """A session that has run, and what onnxruntime has logged meanwhile.

    Only the log tells what onnxruntime's arena takes from the system. onnxruntime logs to standard
    error, which is redirected to a file meanwhile.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            ort.set_default_logger_severity(1)  # the arena's messages are of severity «info»
            session = open_model(job, options)
            feeder = Feeder(session, job)
            if job.tokens:
                text, latest = Steps(session, feeder.ids_input, job.model), feeder.draw(length)
                for _ in range(_CALLS + 1):
                    latest = [int(text.step(latest).argmax())]
            else:
                for _ in range(_CALLS + 1):
                    session.run(None, feeder.next(batch, length))
        finally:
            ort.set_default_logger_severity(3)
            os.dup2(kept, 2)
            os.close(kept)
    return session, path.read_text(errors="replace")


def _node_times(events: list[dict[str, Any]]) -> list[list[Any]]:
    taken: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            told = event["args"]
            node = event["name"].removesuffix("_kernel_time")
            taken[told.get("provider", ""), told["op_name"], node].append(float(event["dur"]))
    # The first call sets memory up.
    return [[*key, statistics.median(times[1:] or times)] for key, times in taken.items()]
