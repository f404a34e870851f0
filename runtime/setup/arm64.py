"""An aarch64 Python with numpy and onnxruntime, for qemu's user mode: Debian bookworm's, wheels."""

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime

from toolkit.errors import InputError

from .calls import call, need, write_program
from .debian import unpack

_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "zlib1g")
_WHEELS = "manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"
_QEMU = "qemu-aarch64-static", "qemu-aarch64"
_PYTHON = """\
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || {
  echo "qemu-aarch64-static is not here; install qemu-user-static" >&2
  exit 127
}
exec "$qemu" -L "$here/root" "$here/root/usr/bin/python3.11" "$@"
"""
# onnxruntime reads what processors there are, and crashes where these files speak of other ones
# than 64-bit ARM. qemu looks for every file in the root first, so it finds one Cortex-A53 there;
# what instructions there are it learns from qemu.
_PROCESSOR = """\
processor : 0
CPU implementer : 0x41
CPU architecture: 8
CPU variant : 0x0
CPU part : 0xd03
CPU revision : 4
"""


def fill(folder: Path) -> None:
    """Put ``root`` and ``python``, a script that starts it in qemu, into an empty folder.

    numpy and onnxruntime are of the versions that are installed here, or of the next older ones
    that have wheels for it.

    Raises:
        InputError, MissingDependencyError: see :func:`.debian.unpack`; no qemu; pip failed.
    """
    if not any(shutil.which(name) for name in _QEMU):
        need(_QEMU[0], "install qemu-user-static")
    root = folder / "root"
    unpack(_PACKAGES, "bookworm", root, architecture="arm64")
    _add_wheels(root / "usr" / "local" / "lib" / "python3.11" / "dist-packages", folder / "wheels")
    _describe_processor(root)
    write_program(folder / "python", _PYTHON)
    call(
        [folder / "python", "-c", "import onnxruntime"],
        "the aarch64 onnxruntime does not start in qemu; try another version of qemu",
    )


def _add_wheels(packages: Path, downloads: Path) -> None:
    installed = {"numpy": np.__version__, "onnxruntime": onnxruntime.__version__}
    call(
        [
            *(sys.executable, "-P", "-m", "pip", "download", "-qq", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--implementation", "cp", "--abi", "cp311"),
            *("--python-version", "3.11", "-d", downloads),
            *(word for name in _WHEELS for word in ("--platform", name)),
            *(f"{name}<={version.split('+')[0]}" for name, version in installed.items()),
        ],
        "pip cannot download numpy and onnxruntime for aarch64; check the network and try again",
    )
    wheels = sorted(downloads.glob("*.whl"))
    if len(wheels) != len(installed):
        raise InputError(f"pip downloaded {len(wheels)} wheels, not {len(installed)}; try again")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(packages)
    shutil.rmtree(downloads)


def _describe_processor(root: Path) -> None:
    processors = root / "sys" / "devices" / "system" / "cpu"
    processors.mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(_PROCESSOR)
    for name in ("possible", "present"):
        (processors / name).write_text("0\n")
