"""Nothing leaves the machine: no telemetry, no look-up of a name, by any verb that needs no hub."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[1] / "integration/network/guard.c"
RUN = """
import onnx
from onnx import TensorProto, helper
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
node = helper.make_node("Identity", ["x"], ["y"])
graph = helper.make_graph([node], "g", [value("x")], [value("y")])
opsets = [helper.make_opsetid("", 17)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
"""


def python(program, home, **env):
    """Run ``program`` with the folder ``home`` as the user's own."""
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    left_out = ("ORT_DISABLE_TELEMETRY", "CI")  # onnxruntime reports nothing from a CI either
    known = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.run(
        [sys.executable, "-c", program], env=known | places | env, capture_output=True, text=True
    )


def databases(home):
    return [path for path in home.rglob("*") if "microsoft" in path.name.lower()]


@pytest.mark.parametrize(
    "first", ["toolkit", "exporters", "runtime", "runtime.session", "lighttoken"]
)
def test_onnxruntime_keeps_no_database_of_the_device(tmp_path, first):
    done = python(f"import {first}, onnxruntime\n{RUN}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not databases(tmp_path)


def test_without_us_it_does_or_never_did(tmp_path):
    """So the test above sees what it looks for, where onnxruntime has telemetry."""
    assert python(f"import onnxruntime\n{RUN}", tmp_path).returncode == 0
    library = next(Path(__import__("onnxruntime").__file__).parent.glob("capi/libonnxruntime.so*"))
    assert bool(databases(tmp_path)) == (b"DeveloperTools" in library.read_bytes())


def test_who_wants_telemetry_keeps_it(tmp_path):
    program = "import toolkit, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert python(program, tmp_path).stdout.strip() == "1"
    assert python(program, tmp_path, ORT_DISABLE_TELEMETRY="0").stdout.strip() == "0"


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """Environment in which a process writes down whom it asks for, and the file it does that in."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    folder = tmp_path_factory.mktemp("guard")
    library, log = folder / "guard.so", folder / "log"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(GUARD), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return {"LD_PRELOAD": str(library), "NETWORK_GUARD": str(log)}, log


def test_the_guard_sees_names_and_addresses(guard, tmp_path):
    env, log = guard
    program = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.getaddrinfo("example.invalid", 80)
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 9), timeout=0.01)
"""
    python(program, tmp_path, **env)
    told = log.read_text().splitlines()
    log.unlink()
    assert "looked up example.invalid" in told
    assert "connected to 192.0.2.1" in told


def test_no_verb_asks_anybody(guard, tmp_path, decoder_folder):
    env, log = guard
    text = tmp_path / "text.txt"
    text.write_text("w10 w11 w12\nw13 w14\n" * 20)
    source, out = str(decoder_folder("LlamaForCausalLM", 32)), str(tmp_path / "out")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"models: [{source}]\n"
        "export: {ratio: 4, effort: fast}\n"
        f"evaluate: {{text: {text}, limit: 8}}\n"
    )
    verbs = [
        ["export", source, out, "--ratio", "4", "--effort", "fast", "--with-past"],
        ["run", out, "w10 w11", "--max-tokens", "3"],
        ["inspect", out],
        ["evaluate", out, "--text", str(text), "--original", source, "--limit", "8"],
        ["sweep", str(plan), str(tmp_path / "sweep")],
        ["profile", out, "--repeats", "1", "--length", "8", "--tokens", "4"],
        ["doctor"],
    ]
    for verb in verbs:
        program = f"import sys; from toolkit.cli.app import run; sys.exit(run({verb!r}))"
        done = python(program, tmp_path, **env)
        assert done.returncode == 0, (verb, done.stderr[-500:])
        assert not log.exists(), (verb, log.read_text())
    assert not databases(tmp_path)
