"""Run models with the native kernel and compare: library_check.py LIBRARY MODEL...

For an onnxruntime that is not the tests' own: another version, or that of another machine. Beside
every MODEL.onnx is a MODEL.npz of three arrays: ``feed``, ``expected``, and ``tolerance``, which is
zero for results that have to be equal to the bit. ``LIGHTTOKEN_KERNEL`` picks the kernel. Prints a
digest of every result, so that those of two kernels can be compared.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def check(library: str, model: Path) -> str | None:
    """What is wrong with the model's result, None if nothing is."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2  # the files of the root tell of one processor
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(model, options)
    with np.load(model.with_suffix(".npz")) as case:
        feed, expected, tolerance = case["feed"], case["expected"], float(case["tolerance"])
    found = session.run(None, {session.get_inputs()[0].name: feed})[0]
    print(f"{model.stem} {hashlib.sha256(found.tobytes()).hexdigest()}")
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype}{found.shape}, not {expected.dtype}{expected.shape}"
    off = np.abs(found.astype(np.float64) - expected)
    wrong = ~(off <= tolerance)  # not a number is wrong too
    if wrong.any():
        return f"{wrong.sum()} of {wrong.size} values are off by up to {off.max()}"
    if tolerance and (found.argmax(axis=-1) != expected.argmax(axis=-1)).any():
        return "another logit is the largest"
    return None


def main(library: str, *models: str) -> int:
    problems = [(model, check(library, Path(model))) for model in models]
    for model, problem in problems:
        if problem:
            print(f"{model}: {problem}", file=sys.stderr)
    return any(problem for _, problem in problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
