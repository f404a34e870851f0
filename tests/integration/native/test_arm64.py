"""The kernel built for 64-bit ARM, in an onnxruntime of that machine under qemu."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.custom_op.build import TARGETS, BuildError, build, find_headers
from runtime.setup import home

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
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
    folder = home() / "arm64" / "root"
    if not (folder / "usr/bin/python3.11").exists():
        pytest.skip(f"no aarch64 Python in {folder}: lighttoken setup arm64")
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
def check(root, library, layer_models):
    """library_check.py on a processor, with a kernel; seconds, mostly onnxruntime's import."""

    @functools.cache
    def run(processor, kernel):
        return subprocess.run(
            [
                *("qemu-aarch64-static", "-cpu", processor, "-L", root),
                *(root / "usr/bin/python3.11", "-I", HERE / "library_check.py"),
                *(library, *layer_models),
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


def test_every_kernel_gives_the_same(check, layer_models):
    digests = {check(*run).stdout for run in RUNS}
    assert len(digests) == 1
    assert len(digests.pop().splitlines()) == len(layer_models)


def test_a_processor_without_dot_products_refuses_the_kernel_of_them(check):
    done = check("cortex-a53", "dotprod")
    assert done.returncode == 1
    assert "no kernel 'dotprod' runs here; there is neon, scalar" in done.stderr
