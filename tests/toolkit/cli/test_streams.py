"""Standard streams that are closed, full, narrow or abandoned, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and /dev/full")

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def shell(tmp_path):
    """``shell(line, **environment)``: what bash does with it; ``$L`` stands for the command."""

    def run(line: str | bytes, **environment: str):
        settings = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
        settings["L"] = f"{sys.executable} -m toolkit"
        settings["PYTHONPATH"] = str(Path(__file__).parents[3])
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            check=False,
        )

    return run


@pytest.fixture
def matrix(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "m.npy", rng.standard_normal((300, 16)).astype(np.float32))


def one_line(done, code: int = 2) -> str:
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_closed_input(shell, tiny_bundle):
    assert "standard input is closed" in one_line(shell(f"$L run {tiny_bundle} - <&-"))


def test_input_that_is_not_utf_8(shell, tiny_bundle):
    assert "UTF-8" in one_line(shell(f"printf 'caf\\351\\n' | $L run {tiny_bundle} -"))


def test_lines_of_the_input_end_at_line_feeds_alone(shell, tiny_bundle):
    line = r"printf 'a\342\200\250cat\f\v\302\205sleeps\r\nstocks\n'"
    done = shell(f"{line} | $L run {tiny_bundle} - --json")
    assert json.loads(done.stdout)["texts"] == ["a\u2028cat\x0c\x0b\x85sleeps", "stocks"]


def test_a_reader_that_leaves(shell, tiny_bundle):
    done = shell(f"$L inspect {tiny_bundle} --json | head -c 1")
    assert done.returncode == 0
    assert done.stderr == b""


def test_closed_output(shell, tiny_bundle):
    done = shell(f"$L inspect {tiny_bundle} >&-")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("options", ["", "--json"])
def test_full_output(shell, tiny_bundle, options):
    line = one_line(shell(f"$L inspect {tiny_bundle} {options} > /dev/full"))
    assert line == "error: standard output failed (no space left on device)\n"


def test_full_output_after_a_file_was_written(shell, matrix, tmp_path):
    line = one_line(shell("$L compress m.npy out.safetensors --ratio 4 > /dev/full"))
    wanted = "wrote out.safetensors, but standard output failed (no space left on device)"
    assert line == f"error: {wanted}\n"
    assert (tmp_path / "out.safetensors").is_file()


def test_full_output_after_an_export(shell, tiny_model, tmp_path):
    line = one_line(shell(f"$L export {tiny_model} out --ratio 5 > /dev/full"))
    assert line.startswith("error: wrote out, but standard output failed")
    assert (tmp_path / "out" / "lighttoken.json").is_file()


@pytest.mark.parametrize(
    "arguments", ["inspect {}", "run {} 'ein süßes 猫' stocks", "run {} - <<< 'süß'", "doctor"]
)
def test_output_that_knows_ascii_alone(shell, tiny_bundle, arguments):
    done = shell(f"$L {arguments.format(tiny_bundle)}", **ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stdout.isascii()


def test_an_error_where_ascii_alone_is_known(shell):
    assert "f\\udcc3\\udcbcr.onnx" in one_line(shell("$L inspect für.onnx", **ASCII))


def test_a_text_that_is_not_utf_8(shell, tiny_bundle):
    assert "is not UTF-8" in one_line(shell(f"$L run {tiny_bundle} $'caf\\xe9'"))


def test_a_name_that_is_no_text(shell, matrix, tmp_path):
    name = b"out\xff\x1b.safetensors"
    done = shell(b"$L compress m.npy $'out\\xff\\x1b.safetensors' --ratio 4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"wrote out\\udcff\\x1b.safetensors\n")
    assert name in os.listdir(os.fsencode(tmp_path))  # noqa: PTH208
    assert "\\udcff" in one_line(shell(b"$L inspect $'out\\xff.onnx'"))
