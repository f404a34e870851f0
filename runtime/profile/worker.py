"""The measuring process: a JSON spec on stdin, one line of JSON on stdout.

    echo SPEC | python -m runtime.profile.worker

The line is ``{"figures": {name: number or null}}``, or ``{"error": text}`` with exit status 1.
"""

import gc
import json
import sys
import time
from pathlib import Path

import numpy as np

from toolkit.errors import LightTokenError
from toolkit.feeds import Int64, build_feeds, draw_ids

from ..session import Array, Session, open_session
from .memory import Memory, peak_rss, reset_peak, snapshot
from .spec import WorkerSpec

Figures = dict[str, float | None]


def measure(spec: WorkerSpec) -> Figures:
    """Load and run ``spec.model``; figures by the names of :data:`.report.METRICS`.

    Memory figures are differences from the process just before the load, with onnxruntime and
    numpy already imported.
    """
    gc.collect()
    gc.disable()
    reset_peak()
    before = snapshot()

    start = time.perf_counter()
    session = open_session(
        spec.model, spec.provider, threads=spec.threads, verify=False, op=spec.op
    )
    loaded = time.perf_counter()
    after_load = snapshot()

    feeder = _Feeder(session, spec)
    feeds = feeder.next(spec.lengths[0])
    first_start = time.perf_counter()
    session.run(feeds)
    first = time.perf_counter() - first_start

    figures: Figures = {
        "load_ms": 1e3 * (loaded - start),
        "first_result_ms": 1e3 * (loaded - start + first),
        **_added("load", before, after_load),
    }
    for length in spec.lengths:
        times = _time(session, feeder, length, spec)
        figures[f"latency_{length}_p50_ms"] = float(np.percentile(times, 50))
        figures[f"latency_{length}_p95_ms"] = float(np.percentile(times, 95))
    figures |= _added("steady", before, snapshot())
    peak = peak_rss()
    figures["peak_rss_bytes"] = None if peak is None else max(0, peak - before.rss)
    return figures


class _Feeder:
    """Fresh feeds for every call: with the same ids again, most of a table would stay unread."""

    def __init__(self, session: Session, spec: WorkerSpec) -> None:
        self._session, self._spec = session, spec
        self._ids_input = spec.ids_input or session.ids_input
        self._rng = np.random.default_rng(spec.seed)
        self._stream = np.array(spec.stream, np.int64)
        self._at = 0

    def next(self, length: int) -> dict[str, Array]:
        return build_feeds(self._session.inputs, self._ids_input, self._ids(length))

    def _ids(self, length: int) -> Int64:
        batch = self._spec.batch
        if not self._stream.size:
            return draw_ids(self._rng, batch, length, self._spec.rows)
        count = batch * length
        ids = self._stream[np.arange(self._at, self._at + count) % self._stream.size]
        self._at += count
        return ids.reshape(batch, length)


def _time(session: Session, feeder: _Feeder, length: int, spec: WorkerSpec) -> list[float]:
    """Milliseconds of ``spec.runs`` calls."""
    for _ in range(spec.warmup):
        session.run(feeder.next(length))
    call = session.raw.run  # without the checks of Session.run, which are not the model's cost
    times = []
    for _ in range(spec.runs):
        feeds = feeder.next(length)
        start = time.perf_counter()
        call(None, feeds)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _added(stage: str, before: Memory, after: Memory) -> Figures:
    def difference(old: int | None, new: int | None) -> int | None:
        return None if old is None or new is None else new - old

    return {
        f"{stage}_rss_bytes": difference(before.rss, after.rss),
        f"{stage}_uss_bytes": difference(before.uss, after.uss),
        f"{stage}_pss_bytes": difference(before.pss, after.pss),
        f"{stage}_anonymous_bytes": difference(before.anonymous, after.anonymous),
    }


def main() -> int:
    """Read the spec, measure, answer."""
    spec = WorkerSpec.from_json(sys.stdin.read())
    try:
        if not Path(spec.model).is_absolute():
            raise ValueError(f"model path {spec.model} is not absolute")
        answer: dict[str, object] = {"figures": measure(spec)}
    except LightTokenError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
    return 0 if "figures" in answer else 1


if __name__ == "__main__":
    sys.exit(main())
