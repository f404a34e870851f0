"""Build the native kernel with CMake, for this machine or for another.

Needs the standard library alone: the wheel is built with it, where nothing else is installed.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LIBRARY = SOURCES / f"lighttoken_op{_SUFFIX}"
"""Where sessions on this machine look."""
HEADERS = "ONNXRUNTIME_INCLUDE_DIR"
_API = "onnxruntime_cxx_api.h"


class BuildError(Exception):
    """The kernel cannot be built; one line says why and what to do."""


@dataclass(frozen=True)
class Target:
    """A kind of machine.

    Attributes:
        library: the library's file name there.
        options: what CMake has to be told.
        compiler: what has to be installed, None for this machine's own.
        needs: an environment variable that the options mention, None for none.
        wheel: the platform of a wheel with this library, None where no wheel is made.
    """

    library: str
    options: tuple[str, ...] = ()
    compiler: str | None = None
    needs: str | None = None
    wheel: str | None = None


_ZIG = "zig"


def _by_zig(system: str, triple: str, wheel: str) -> Target:
    """A machine that zig's compiler brings a C library for: any machine can build for it."""
    ending = {"Linux": "so", "Darwin": "dylib", "Windows": "dll"}[system]
    options = (
        f"-DCMAKE_SYSTEM_NAME={system}",
        f"-DCMAKE_SYSTEM_PROCESSOR={triple.partition('-')[0]}",
        f"-DCMAKE_CXX_FLAGS=-target {triple}",
    )
    return Target(f"lighttoken_op.{ending}", options, compiler=_ZIG, wheel=wheel)


_ANDROID = "-DCMAKE_TOOLCHAIN_FILE=$ANDROID_NDK_HOME/build/cmake/android.toolchain.cmake"

TARGETS = {
    "host": Target(LIBRARY.name),
    "aarch64-linux": Target(
        "lighttoken_op.so",
        (
            "-DCMAKE_SYSTEM_NAME=Linux",
            "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
            "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        ),
        compiler="aarch64-linux-gnu-g++",
    ),
    "android-arm64": Target(
        "lighttoken_op.so",
        (_ANDROID, "-DANDROID_ABI=arm64-v8a", "-DANDROID_PLATFORM=android-24"),
        needs="ANDROID_NDK_HOME",
    ),
    "android-x86_64": Target(
        "lighttoken_op.so",
        (_ANDROID, "-DANDROID_ABI=x86_64", "-DANDROID_PLATFORM=android-24"),
        needs="ANDROID_NDK_HOME",
    ),
    # glibc 2.17 is that of manylinux2014; onnxruntime's own wheels ask for a newer one.
    "manylinux-x86_64": _by_zig("Linux", "x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64"),
    "manylinux-aarch64": _by_zig("Linux", "aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64"),
    "musllinux-x86_64": _by_zig("Linux", "x86_64-linux-musl", "musllinux_1_2_x86_64"),
    "musllinux-aarch64": _by_zig("Linux", "aarch64-linux-musl", "musllinux_1_2_aarch64"),
    "macos-x86_64": _by_zig("Darwin", "x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "macos-arm64": _by_zig("Darwin", "aarch64-macos.11.0", "macosx_11_0_arm64"),
    "windows-x86_64": _by_zig("Windows", "x86_64-windows-gnu", "win_amd64"),
    "windows-arm64": _by_zig("Windows", "aarch64-windows-gnu", "win_arm64"),
}


def cmake_call(target: Target, headers: str, build: str) -> list[str]:
    """The call that configures a build in the folder ``build``."""
    zig = (f"-DCMAKE_CXX_COMPILER={_find_zig() or _ZIG};c++",) if target.compiler == _ZIG else ()
    return [
        *("cmake", "-S", str(SOURCES), "-B", build, "-DCMAKE_BUILD_TYPE=Release"),
        f"-D{HEADERS}={headers}",
        *zig,
        *(os.path.expandvars(option) for option in target.options),
    ]


def _find_zig() -> str | None:
    """The compiler, of the path or of the Python package ``ziglang``; None where it is not here."""
    found = importlib.util.find_spec("ziglang")
    inside = Path(found.origin).parent / _ZIG if found and found.origin else None
    return shutil.which(_ZIG) or (str(inside) if inside else None)


def find_headers(named: Path | None, scratch: Path | None = None) -> Path:
    """The folder of onnxruntime's headers: the one named, the environment's, or Debian's.

    Args:
        named: a folder to take them from.
        scratch: a folder for temporary files, None for the system's.

    Raises:
        BuildError: no headers in the folder that is named, or none at all.
    """
    given = named or (Path(os.environ[HEADERS]) if os.environ.get(HEADERS) else None)
    if given is not None:
        for folder in (given, given / "onnxruntime"):
            if (folder / _API).is_file():
                return folder.resolve()
        raise BuildError(f"{given} has no {_API}; give the include folder of an onnxruntime")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lighttoken" / "onnxruntime-headers"
    if not (folder / _API).is_file():
        done = _call(["sh", str(SOURCES / "headers.sh"), str(folder)], scratch)
        if done.returncode or not (folder / _API).is_file():
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BuildError(
                f"onnxruntime's headers are not here ({why}); unpack those of a release of 1.20 or "
                f"newer and name their folder with --headers"
            )
    return folder


def build(target: Target, headers: Path, out: Path, scratch: Path | None = None) -> Path:
    """Build for ``target`` and put the library at ``out``; the path of the library.

    Args:
        target: one of :data:`TARGETS`.
        headers: the folder of onnxruntime's headers.
        out: the library's path.
        scratch: a folder for temporary files, None for the system's.

    Raises:
        BuildError: CMake, the compiler or the NDK is missing, or the build failed; then the first
            error of the compiler is quoted.
    """
    for tool in filter(None, ("cmake", target.compiler)):
        if shutil.which(tool) is None and not (tool == _ZIG and _find_zig()):
            how = "pip install ziglang" if tool == _ZIG else "install it"
            raise BuildError(f"{tool} is missing; {how} and try again")
    if target.needs and not os.environ.get(target.needs):
        raise BuildError(
            f"{target.needs} is not set; name the folder of the NDK in it (--print shows the calls)"
        )
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        _run(cmake_call(target, str(headers), folder), scratch)
        _run(["cmake", "--build", folder, "--config", "Release", "--parallel"], scratch)
        made = next(iter(Path(folder).rglob(target.library)), None)
        if made is None:
            raise BuildError(f"the build made no {target.library}; please report this as a bug")
        out.parent.mkdir(parents=True, exist_ok=True)
        _put(made, out)
    return out


def _put(made: Path, out: Path) -> None:
    """The library to ``out``, whole or not at all; an older one is replaced, nothing else is."""
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise BuildError(f"{out} is no file, and is not replaced; choose another folder with --out")
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    os.close(handle)
    try:
        shutil.copy(made, name)
        Path(name).replace(out)
    finally:
        Path(name).unlink(missing_ok=True)


def _call(command: list[str], scratch: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run it; an exception on the way, as of Ctrl-C, ends it and all that it started."""
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate()
        except BaseException:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _run(command: list[str], scratch: Path | None) -> None:
    done = _call(command, scratch)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        reason = (errors or lines or ["no output"])[0]
        raise BuildError(f"{' '.join(command[:2])} failed: {reason}")
