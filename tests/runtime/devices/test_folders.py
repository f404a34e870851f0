"""Folders for boards and phones; what runs in them runs here with stand-ins for the device."""

import base64
import importlib.util
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from runtime.custom_op.build import BuildError, find_headers
from runtime.devices.android import emit_android
from runtime.devices.linux_arm64 import emit_linux_arm64
from runtime.devices.results import KIND, SCHEMA, read_results
from runtime.devices.web import emit_web
from runtime.profile.measure.job import Job
from runtime.setup import home
from runtime.setup.calls import write_program
from toolkit.errors import FormatError, InputError

EMITTERS = [emit_linux_arm64, emit_android]
MEASURES = ["values", "time", "memory", "cold"]
ADB = r"""
case $1 in
  get-state) echo device ;;
  shell) shift; sh -c "$*" | sed 's/$/\r/' ;;
  push) shift; for last; do :; done; while [ $# -gt 1 ]; do cp -r "$1" "$last"; shift; done ;;
  pull) cp "$2" "$3" ;;
esac"""
GETPROP = """
case $1 in
  ro.product.cpu.abi) echo arm64-v8a ;;
  ro.product.manufacturer) echo Maker ;;
  ro.product.model) echo 'Say "9"' ;;
  ro.soc.model) echo SM1 ;;
  ro.build.version.release) echo 15 ;;
esac"""
TOOLCHAIN = """
get_property(trying GLOBAL PROPERTY IN_TRY_COMPILE)
if(NOT trying AND NOT "${ANDROID_ABI} ${ANDROID_PLATFORM}" STREQUAL "arm64-v8a android-24")
  message(FATAL_ERROR "wrong machine: ${ANDROID_ABI} ${ANDROID_PLATFORM}")
endif()
"""


@pytest.fixture
def job():
    return Job(
        "time",
        "",
        "CPUExecutionProvider",
        ((1, 4),),
        runs=2,
        warmup=1,
        ids=((1, 5, 6, 7), (2, 9, 8, 1)),
    )


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Programs that stand in for a phone, adb and the NDK; ``archive`` for onnxruntime's."""
    try:
        headers = find_headers(None)
    except BuildError as error:
        pytest.skip(str(error))
    for tool in ("cmake", "unzip"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "adb", f"#!/bin/sh{ADB}\n")
    write_program(programs / "getprop", f"#!/bin/sh{GETPROP}\n")
    toolchain = tmp_path / "ndk" / "build" / "cmake" / "android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True)
    toolchain.write_text(TOOLCHAIN)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk"))
    monkeypatch.setenv("LIGHTTOKEN_DEVICE_FOLDER", str(tmp_path / "phone"))
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = next(iter(sorted(capi.glob("libonnxruntime.so.*"))), None)
    if library is None:
        pytest.skip(f"no libonnxruntime.so of its own in {capi}")
    archive = tmp_path / "onnxruntime.aar"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(library, "jni/arm64-v8a/libonnxruntime.so")
        for header in headers.glob("*.h"):
            packed.write(header, f"headers/{header.name}")
    return archive


def run(folder, *arguments, **variables):
    return subprocess.run(
        ["sh", folder / "run.sh", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_values(results, bundle):
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    ids = np.array([[1, 5, 6, 7], [2, 9, 8, 1]])
    wanted = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    told = results.of("values")[0].outputs["last_hidden_state"]
    found = np.frombuffer(base64.b64decode(told["data"]), "<f4").reshape(told["dims"])
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("emit", EMITTERS)
def test_the_folder_has_the_bundle_and_a_job_a_process(emit, bundle, tmp_path, job):
    out = tmp_path / "out"
    emit(bundle, out, job, repeats=2)
    for path in bundle.iterdir():
        assert (out / "bundle" / path.name).read_bytes() == path.read_bytes()
    order = ["values", *MEASURES[1:], *MEASURES[1:]]
    if emit is emit_android:
        jobs = sorted((out / "jobs").iterdir())
        assert [path.stem.split("-")[1] for path in jobs] == order
        assert (out / "files").read_text() == "bundle/model.onnx bundle/model.onnx.data"
        assert "model=bundle/model.onnx\n" in jobs[0].read_text()
        assert "rows=10\n" in jobs[0].read_text()
    else:
        jobs = json.loads((out / "plan.json").read_text())["jobs"]
        assert [one["measure"] for one in jobs] == order
        assert {one["model"] for one in jobs} == {"bundle/model.onnx"}
        assert {one["rows"] for one in jobs} == {10}
    assert subprocess.run(["sh", "-n", out / "run.sh"], check=False).returncode == 0
    assert "$" not in (out / "README.md").read_text()


@pytest.mark.parametrize("emit", EMITTERS)
def test_a_model_file_takes_its_data_along(emit, bundle, tmp_path, job):
    emit(bundle / "model.onnx", tmp_path / "out", replace(job, ids=()), repeats=1)
    found = {path.name for path in (tmp_path / "out" / "bundle").iterdir()}
    assert found == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize("emit", EMITTERS)
def test_a_library_of_operators_goes_along(emit, bundle, tmp_path, job):
    (tmp_path / "op.so").write_text("of the device")
    emit(bundle, tmp_path / "out", replace(job, library=str(tmp_path / "op.so")))
    assert (tmp_path / "out" / "library" / "op.so").read_text() == "of the device"


@pytest.mark.parametrize("emit", EMITTERS)
def test_what_cannot_be_emitted_leaves_nothing(emit, bundle, tmp_path, job):
    out = tmp_path / "out"
    for given, changes, options, message in (
        (tmp_path / "none", {}, {}, "is not here; give a bundle folder"),
        (bundle, {}, {"repeats": 0}, "repeats must be at least 1, got 0"),
        (bundle, {"library": "/nowhere.so"}, {}, "/nowhere.so is not here"),
    ):
        with pytest.raises(InputError, match=message):
            emit(given, out, replace(job, **changes), **options)
        assert not out.exists()
    out.mkdir()
    with pytest.raises(InputError, match="exists"):
        emit(bundle, out, job)
    emit(bundle, out, job, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out"]


@pytest.mark.parametrize("emit", [*EMITTERS, emit_web])
def test_force_replaces_what_was_emitted_and_nothing_else(emit, bundle, tmp_path, job):
    out = tmp_path / "out"
    if emit is emit_web:
        job = replace(job, provider="wasm")
    emit(bundle, out, job)
    emit(bundle, out, job, force=True)
    with pytest.raises(InputError, match=r"out holds .*/bundle, which is read"):
        emit(out / "bundle", out, job, force=True)
    (out / "results.json").write_text("hours of measuring")
    with pytest.raises(InputError, match=r"out holds results.json, which lighttoken did not write"):
        emit(bundle, out, job, force=True)
    assert (out / "results.json").read_text() == "hours of measuring"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out"]


def test_android_from_emitting_to_results(bundle, tmp_path, job, phone):
    out = tmp_path / "out"
    emit_android(bundle, out, job, repeats=2)
    done = run(out, phone)
    assert done.returncode == 0, done.stderr
    results = read_results(out / "results.json")
    assert (results.subject, results.place) == ("bundle", "android")
    assert results.environment.system == "Android 15"
    assert results.environment.machine == "Maker Say 9, SM1"
    assert results.environment.cores >= 1
    assert results.environment.memory_bytes > 1e8
    assert [one.measure for one in results.answers] == ["values", *MEASURES[1:], *MEASURES[1:]]
    assert_values(results, bundle)
    assert all("steady_mapped_bytes" in answer.figures for answer in results.of("memory"))
    assert all("cold_load_ms" in answer.figures for answer in results.of("cold"))
    assert not Path(os.environ["LIGHTTOKEN_DEVICE_FOLDER"]).exists()


@pytest.mark.parametrize(
    ("changes", "variables", "archives", "message"),
    [
        ({}, {"ANDROID_NDK_HOME": "/nowhere"}, True, "no NDK in '/nowhere'"),
        ({}, {}, False, "give onnxruntime's archive for Android"),
        ({"provider": "QNNExecutionProvider"}, {}, True, "QNN execution provider is not supported"),
    ],
)
def test_android_that_fails_says_why(
    bundle, tmp_path, job, phone, changes, variables, archives, message
):
    out = tmp_path / "out"
    emit_android(bundle, out, replace(job, **changes))
    done = run(out, *([phone] if archives else []), **variables)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (out / "results.json").exists()


def test_a_board_folder_on_another_machine_says_so(bundle, tmp_path, job):
    emit_linux_arm64(bundle, tmp_path / "out", job)
    if platform.machine() in ("aarch64", "arm64"):
        pytest.skip("this is a board")
    done = run(tmp_path / "out", PYTHON=sys.executable)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: this machine is {platform.machine()}, not aarch64")


def test_figures_of_a_board_are_json_that_every_reader_takes(bundle, tmp_path, job, monkeypatch):
    """A process that measures may tell NaN, and hours of measuring would then not be read."""
    emit_linux_arm64(bundle, tmp_path / "out", job)
    spec = importlib.util.spec_from_file_location("measure", tmp_path / "out/measure_here.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    answer = {"runtime": "x", "figures": {"first_ms": math.nan, "cold_load_ms": 1.5}}
    monkeypatch.setattr(program, "run", lambda *_: {"answer": answer})
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert program.main() == 0
    told = read_results(tmp_path / "out/results.json")
    assert told.answers[0].answer.figures == {"cold_load_ms": 1.5}


@pytest.mark.slow
def test_a_board_from_emitting_to_results(bundle, tmp_path, job):
    python = home() / "arm64" / "python"
    if not python.exists():
        pytest.skip("no aarch64 Python: lighttoken setup arm64")
    emit_linux_arm64(bundle, tmp_path / "out", job, repeats=1)
    done = run(tmp_path / "out", PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "out" / "results.json")
    assert (results.subject, results.place) == ("bundle", "linux-arm64")
    assert "aarch64" in results.environment.system
    assert [one.measure for one in results.answers] == MEASURES
    assert_values(results, bundle)


GOOD = {
    "kind": KIND,
    "schema": SCHEMA,
    "place": "web",
    "subject": "a model",
    "environment": {"system": "x", "machine": "y", "cores": 4, "memory_bytes": None, "new": 1},
    "answers": [
        {"measure": "time", "answer": {"runtime": "r", "figures": {"load_ms": 1, "cold": None}}}
    ],
}


def test_results_are_read(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(GOOD))
    results = read_results(path)
    assert results.environment.memory_bytes == 0
    assert results.of("time")[0].figures == {"load_ms": 1.0}
    assert results.of("memory") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "holds 'list'"),
        (json.dumps({**GOOD, "kind": "other"}), "holds 'other'"),
        (json.dumps({**GOOD, "schema": 2}), "has schema 2, this version reads 1"),
        (json.dumps({**GOOD, "place": "moon"}), "place 'moon'"),
        (json.dumps({**GOOD, "answers": []}), "no answers"),
        (json.dumps({**GOOD, "answers": [{"measure": "time"}]}), "damaged"),
        (json.dumps({**GOOD, "answers": [{"measure": "x", "answer": {"runtime": ""}}]}), "'x'"),
        (json.dumps({**GOOD, "environment": None}), "damaged"),
        (
            json.dumps(
                {
                    **GOOD,
                    "answers": [
                        {"measure": "time", "answer": {"runtime": "", "figures": {"a": "b"}}}
                    ],
                }
            ),
            "damaged",
        ),
    ],
)
def test_bad_results_are_one_line(tmp_path, text, message):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)
