"""The target xnnpack in an onnxruntime that is built with it: Debian trixie's, 1.21.

`lighttoken setup xnnpack` puts it where this looks.
"""

import pytest

from runtime.setup import home

PYTHON = home() / "xnnpack" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason=f"no onnxruntime with XNNPACK at {PYTHON}: lighttoken setup xnnpack",
    ),
]


@pytest.fixture(scope="module")
def found(run_target):
    return run_target("xnnpack", PYTHON)


def test_values_are_the_cpus(found, assert_alike):
    assert_alike(found, 1e-5)


def test_products_and_softmax_are_taken(found):
    taken = found.placed["XnnpackExecutionProvider"]
    # Products of the decode graph; those of the body that have a bias; one softmax a layer.
    assert taken["MatMul"] > 0
    assert taken["Gemm"] >= 12
    assert taken["Softmax"] == 6
