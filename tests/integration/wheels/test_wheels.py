"""Wheels for other machines: what their libraries show, need and are aligned to.

``make test-wheels`` makes them and runs this; ``LIGHTTOKEN_WHEELS`` names their folder. Libraries
are read by LIEF; the wheel of this machine is installed and run.
"""

import os
import platform
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

lief = pytest.importorskip("lief", reason="make test-wheels installs it")
FOLDER = os.environ.get("LIGHTTOKEN_WHEELS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="make test-wheels makes the wheels")

HERE = Path(__file__).parent
# By its path: the environment that builds wheels has none of the project's dependencies.
TARGETS = runpy.run_path(str(HERE.parents[2] / "runtime" / "custom_op" / "build.py"))["TARGETS"]
WHEELS = {name: target for name, target in TARGETS.items() if target.wheel}
ENTRY = "RegisterCustomOps"
# Of a library for Linux: the C library, in the parts that glibc before 2.34 was cut into.
LIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
LOADERS = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
WINDOWS = ("api-ms-win-crt-", "kernel32.dll", "ntdll.dll")
# On macOS, by zig's linker: its own names, and operators new and delete, as weak ones.
_BROUGHT = ("__mh_", "___dso_handle", "__Zn", "__Zd")
PAGE = {"x86_64": 4096, "aarch64": 65536}  # the largest that the machine's kernels are built with


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """``unpacked(name)``: the library's path, out of the wheel."""

    def unpack(name):
        target = WHEELS[name]
        (wheel,) = Path(FOLDER).glob(f"lighttoken-*-py3-none-{target.wheel}.whl")
        folder = tmp_path_factory.mktemp("wheel")
        with zipfile.ZipFile(wheel) as file:
            inside = [entry for entry in file.namelist() if "/lighttoken_op." in entry]
            assert inside == [f"runtime/custom_op/{target.library}"]
            return Path(file.extract(inside[0], folder))

    return unpack


@pytest.mark.parametrize("name", [name for name in WHEELS if "linux" in name])
def test_linux_shows_one_function_and_needs_libc_alone(unpacked, name):
    library = lief.parse(str(unpacked(name)))
    assert [symbol.name for symbol in library.exported_symbols] == [ENTRY]
    needed = {"libc.so"} if "musl" in name else LIBC | LOADERS
    assert set(library.libraries) <= needed
    machine = name.partition("-")[2]
    assert library.header.machine_type.name == {"x86_64": "X86_64", "aarch64": "AARCH64"}[machine]
    loaded = [part for part in library.segments if part.type == lief.ELF.Segment.TYPE.LOAD]
    assert loaded
    assert all(part.alignment >= PAGE[machine] for part in loaded)


@pytest.mark.parametrize("name", [name for name in WHEELS if "manylinux" in name])
def test_auditwheel_agrees_with_the_wheels_name(name):
    target = WHEELS[name]
    (wheel,) = Path(FOLDER).glob(f"lighttoken-*-py3-none-{target.wheel}.whl")
    command = [sys.executable, "-m", "auditwheel", "show", wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = " ".join(done.stdout.split())
    assert f'consistent with the following platform tag: "{target.wheel}"' in said


@pytest.mark.parametrize("name", [name for name in WHEELS if "windows" in name])
def test_windows_shows_one_function_and_needs_the_system_alone(unpacked, name):
    library = lief.parse(str(unpacked(name)))
    assert [function.name for function in library.exported_functions] == [ENTRY]
    assert all(needed.lower().startswith(WINDOWS) for needed in library.libraries)
    machine = {"x86_64": "AMD64", "arm64": "ARM64"}[name.partition("-")[2]]
    assert library.header.machine.name == machine


@pytest.mark.parametrize("name", [name for name in WHEELS if "macos" in name])
def test_macos_shows_one_function_and_needs_the_system_alone(unpacked, name):
    library = lief.parse(str(unpacked(name)))
    shown = {function.name for function in library.exported_functions}
    assert {name for name in shown if not name.startswith(_BROUGHT)} == {f"_{ENTRY}"}
    needed = {entry.name for entry in library.libraries} - {WHEELS[name].library}
    assert needed == {"/usr/lib/libSystem.B.dylib"}
    cpu = {"x86_64": "X86_64", "arm64": "ARM64"}[name.partition("-")[2]]
    assert library.header.cpu_type.name == cpu
    assert library.build_version.minos[:2] == [11, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel for Linux")
def test_the_wheel_of_this_machine_runs_where_nothing_else_is(tmp_path):
    wheel = WHEELS[f"manylinux-{platform.machine()}"].wheel
    (path,) = Path(FOLDER).glob(f"lighttoken-*-py3-none-{wheel}.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        path,
        "onnxscript",
    ]
    subprocess.run(install, check=True)
    command = [python, "-I", HERE / "check_wheel.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rows and logits are the table's" in done.stdout
