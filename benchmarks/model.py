"""What the packed table costs a whole model: its latency beside the original's, in one process.

Example:
    python benchmarks/model.py lighttoken-demo original.onnx --length 128

Original, packed, and packed with the native kernel where it is built, take turns on the same ids,
one thread; the figure is the median over turns of each one's time by the original's. Processes of
their own, as `lighttoken profile` has them for memory's sake, may run at different speeds.
"""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from runtime import Session, open_session
from runtime.session import Array
from toolkit.bundle.feeds import build_feeds, draw_ids
from toolkit.errors import LightTokenError

_WARMUP = 10


def measure(sessions: dict[str, Session], length: int, runs: int) -> dict[str, Array]:
    """Seconds of each session's calls [runs]."""
    first = next(iter(sessions.values()))
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for run in range(_WARMUP + runs):
        ids = draw_ids(rng, 1, length, _rows(sessions))
        order = list(sessions) if run % 2 else list(reversed(sessions))
        for name in order:
            session = sessions[name]
            feeds = build_feeds(session.inputs, first.ids_input, ids)
            started = time.perf_counter()
            session.raw.run(None, feeds)
            if run >= _WARMUP:
                times[name].append(time.perf_counter() - started)
    return {name: np.array(series) for name, series in times.items()}


def _rows(sessions: dict[str, Session]) -> int | None:
    return next((s.manifest.rows for s in sessions.values() if s.manifest is not None), None)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("original", type=click.Path(path_type=Path))
@click.option("--length", default=128, show_default=True, help="Tokens.")
@click.option("--runs", default=120, show_default=True, help="Timed turns.")
def command(bundle: Path, original: Path, length: int, runs: int) -> None:
    """Time BUNDLE beside ORIGINAL, an .onnx file."""
    sessions = {"original": open_session(original, threads=1, op=False)}
    sessions["packed"] = open_session(bundle, threads=1, op=False)
    native = open_session(bundle, threads=1)
    if native.native_op:
        sessions["packed, native kernel"] = native
    times = measure(sessions, length, runs)
    result: dict[str, Any] = {"tokens": length}
    for name, series in times.items():
        result[name] = {
            "median_ms": round(1e3 * float(np.median(series)), 3),
            "of_original": round(float(np.median(series / times["original"])), 4),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
