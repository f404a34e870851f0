"""Models of one node in turns: how `lookup.py` and `head.py` open and time them."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from runtime import native

Session = onnxruntime.InferenceSession


def open_model(model: onnx.ModelProto, *, kernel: bool) -> Session:
    """On one thread of the CPU, with the native kernel or without."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if kernel:
        native.register(options)
    return Session(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(
    sessions: list[Session],
    draw: Callable[[], NDArray[Any]],
    runs: int,
    *,
    warmup: int,
    warm: bool = False,
) -> list[NDArray[np.float64]]:
    """Seconds of each session's calls [runs], all on the same inputs, in changing order.

    Input and output, float32, are bound, as an app would do it: Python's copies are not what is
    asked. ``warm``: each timed call follows another of the same session.
    """
    times: list[list[float]] = [[] for _ in sessions]
    bindings = [session.io_binding() for session in sessions]
    for run in range(warmup + runs):
        feed = draw()
        order = range(len(sessions))
        for index in order if run % 2 else reversed(order):
            session, binding = sessions[index], bindings[index]
            given, found = session.get_inputs()[0].name, session.get_outputs()[0].name
            if not run:
                shape = session.run(None, {given: feed})[0].shape
                out = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
                binding.bind_ortvalue_output(found, out)
            binding.bind_cpu_input(given, feed)
            if warm:
                session.run_with_iobinding(binding)
            started = time.perf_counter()
            session.run_with_iobinding(binding)
            if run >= warmup:
                times[index].append(time.perf_counter() - started)
    return [np.array(series) for series in times]


def bandwidth() -> float:
    """Bytes a second of a copy on one thread, read and written, larger than any cache."""
    source = np.ones(1 << 26, np.float32)
    target = np.empty_like(source)
    best = np.inf
    for _ in range(4):
        started = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - started)
    return 2 * source.nbytes / best
