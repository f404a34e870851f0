"""The target qnn on the emulator of Qualcomm's NPU that the package onnxruntime-qnn brings.

`lighttoken setup qnn` puts it where this looks. One text at a time: after an Add that broadcasts
over texts, its LayerNormalization is wrong from the second text on, whether or not the model is
compressed.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from exporters.ops.lookup import decode_model
from exporters.passes.fix_shapes import FixShapes
from exporters.passes.inline_functions import InlineFunctions
from exporters.passes.quantized_gathers import QuantizedGathers
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


def test_ids_outside_the_table_have_the_row_of_no_token(pack_table, tmp_path):
    """The NPU knows no NaN: such a row holds one large number. Negative ids count from the end."""
    stages = {"dense": [(300, 30, 5)], "columns": [(100, 8)]}
    embedding = pack_table(500, 32, **stages, block=64, gained=300, tail=True)
    model = ir.from_proto(decode_model(embedding, ids_dtype=ir.DataType.INT32, floats=True))
    inside = [0, 250, 499, 120, -1, -250, -500]
    outside = [500, 501, 777, -501, 2**31 - 1, -(2**31)]
    ids = np.array([inside + outside], np.int32)
    for each in (FixShapes(*ids.shape), InlineFunctions(), QuantizedGathers()):
        each(model)
    ir.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "feeds.npz", ids=ids)
    script = Path(__file__).with_name("run_model.py")
    subprocess.run(
        [sys.executable, script, "qnn", tmp_path / "model.onnx", tmp_path],
        env=os.environ | {"PYTHONPATH": str(FOLDER)},
        check=True,
        timeout=300,
    )
    with np.load(tmp_path / "outputs.npz") as outputs:
        (rows,) = outputs["rows"]
    wanted = embedding.lookup(inside)
    np.testing.assert_allclose(rows[: len(inside)], wanted, atol=0.01 * np.abs(wanted).max())
    beyond = rows[len(inside) :]
    assert (beyond == beyond[:, :1]).all()
    assert (beyond > 10 * np.abs(embedding.dense()).max()).all()
