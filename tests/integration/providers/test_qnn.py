"""The target qnn on the emulator of Qualcomm's NPU that the package onnxruntime-qnn brings.

`lighttoken setup qnn` puts it where this looks. One text at a time: after an Add that broadcasts
over texts, its LayerNormalization is wrong from the second text on, whether or not the model is
compressed.
"""

import sys

import pytest

from runtime.setup import home

FOLDER = home() / "qnn"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "onnxruntime_qnn" / "libQnnHtp.so").exists(),
        reason=f"no onnxruntime-qnn in {FOLDER}: lighttoken setup qnn",
    ),
]


@pytest.fixture(scope="module")
def found(run_target):
    return run_target("qnn", sys.executable, PYTHONPATH=str(FOLDER))


def test_values_are_near_the_cpus(found, assert_alike):
    assert_alike(found, 0.02)  # the NPU computes in float16


def test_everything_is_taken(found):
    taken = found.placed["QNNExecutionProvider"]
    assert {"MatMul", "Where", "LayerNormalization", "Softmax", "Gelu", "Gather"} <= taken.keys()
    assert "CPUExecutionProvider" not in found.placed
