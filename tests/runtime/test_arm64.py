"""The kernel built for 64-bit ARM, in an onnxruntime of that machine under qemu."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporters.decode import decode_model
from exporters.head import head_model
from runtime.custom_op.build import TARGETS, BuildError, build, find_headers
from toolkit import Budget, LightTokenConfig, compress

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
VARIABLE = "LIGHTTOKEN_ARM64_ROOT"
RUNS = [  # qemu's processor, the kernel; no name is the kernel's own choice
    ("max", "dotprod"),
    ("max", "neon"),
    ("max", "scalar"),
    ("cortex-a53", "neon"),  # a processor without dot product instructions
    ("cortex-a53", ""),
]


@pytest.fixture(scope="module")
def root():
    """Where the aarch64 Python is."""
    for tool in ("qemu-aarch64-static", "aarch64-linux-gnu-g++", "cmake"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    folder = Path(os.environ.get(VARIABLE) or TESTS.parent / "build" / "arm64-root")
    if not (folder / "usr/bin/python3.11").exists():
        pytest.skip(
            f"no aarch64 Python in {folder}: make test-arm64, or name another in {VARIABLE}"
        )
    return folder


@pytest.fixture(scope="module")
def library(root, tmp_path_factory):
    try:
        headers = find_headers(None)
    except BuildError as error:
        pytest.skip(str(error))
    target = TARGETS["aarch64-linux"]
    return build(target, headers, tmp_path_factory.mktemp("op") / target.library)


@pytest.fixture(scope="module")
def models(root, tmp_path_factory, small_table, small_embedding):
    """Tables and heads of codebooks of both kinds, each beside what it is fed and should give."""
    folder = tmp_path_factory.mktemp("models")
    config = LightTokenConfig(rounds=1, split=True)
    ids = np.arange(len(small_table)).reshape(7, 101)
    hidden = np.random.default_rng(0).normal(size=(2, 9, small_table.shape[1])).astype(np.float32)
    for kind, embedding in (
        ("whole", small_embedding),
        ("split", compress(small_table, Budget(ratio=10), config=config)),
    ):
        logits = embedding.logits(hidden)
        # Logits are near ones: test_native.py has the bound, which is narrower.
        for name, model, feed, expected, tolerance in (
            ("rows", decode_model(embedding), ids, embedding.lookup(ids), 0),
            ("logits", head_model(embedding), hidden, logits, 0.01 * np.ptp(logits)),
        ):
            path = folder / f"{kind}-{name}.onnx"
            path.write_bytes(model.SerializeToString())
            np.savez(
                path.with_suffix(".npz"),
                feed=feed,
                expected=expected,
                tolerance=np.array(tolerance),
            )
    return sorted(folder.glob("*.onnx"))


@pytest.fixture(scope="module")
def check(root, library, models):
    """arm64_check.py on a processor, with a kernel; seconds, most of them onnxruntime's import."""

    @functools.cache
    def run(processor, kernel):
        return subprocess.run(
            [
                *("qemu-aarch64-static", "-cpu", processor, "-L", root),
                *(root / "usr/bin/python3.11", "-I", TESTS / "native" / "arm64_check.py"),
                *(library, *models),
            ],
            env=os.environ | {"LIGHTTOKEN_KERNEL": kernel, "ORT_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(("processor", "kernel"), RUNS)
def test_rows_are_the_tables_and_logits_near_it(check, processor, kernel):
    done = check(processor, kernel)
    assert done.returncode == 0, done.stderr


def test_every_kernel_gives_the_same(check, models):
    digests = {check(*run).stdout for run in RUNS}
    assert len(digests) == 1
    assert len(digests.pop().splitlines()) == len(models)


def test_a_processor_without_dot_products_refuses_the_kernel_of_them(check):
    done = check("cortex-a53", "dotprod")
    assert done.returncode == 1
    assert "no kernel 'dotprod' runs here; there is neon, scalar" in done.stderr
