"""The C++ runner, built for the tests: users build it from the folder that is emitted."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from runtime.custom_op.build import HEADERS, TARGETS, BuildError, find_headers
from runtime.devices.android import SOURCES
from runtime.setup.calls import call
from toolkit.errors import InputError, MissingDependencyError

RUNNER = "lighttoken_runner"


@pytest.fixture(scope="session")
def build_runner():
    """``build_runner(out, target="host")``: the program's path, see :func:`_build`."""
    return _build


def _build(out: Path, *, target: str = "host", headers: Path | None = None) -> Path:
    """Build for a target of ``runtime.custom_op.build`` and put the program at ``out``.

    Args:
        out: the program's path; its folder is made.
        target: ``host``, ``aarch64-linux``, ``android-arm64`` or ``android-x86_64``.
        headers: folder of ``onnxruntime_cxx_api.h``; None for that of the native kernel.

    Raises:
        MissingDependencyError: CMake, the compiler, the NDK or the headers are not here.
        InputError: the build failed; the compiler's first error stands there.
    """
    chosen = TARGETS[target]
    for tool in filter(None, ("cmake", chosen.compiler)):
        if shutil.which(tool) is None:
            raise MissingDependencyError(f"{tool} is not here; install it and try again")
    if chosen.needs and not os.environ.get(chosen.needs):
        raise MissingDependencyError(f"{chosen.needs} is not set; name the NDK's folder in it")
    try:
        found = find_headers(headers)
    except BuildError as error:
        raise MissingDependencyError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        options = [os.path.expandvars(option) for option in chosen.options]
        failed = "the runner cannot be built"
        call(["cmake", "-S", SOURCES, "-B", folder, f"-D{HEADERS}={found}", *options], failed)
        call(["cmake", "--build", folder, "--config", "Release"], failed)
        made = next((path for path in Path(folder).rglob(RUNNER) if path.is_file()), None)
        if made is None:
            raise InputError(f"the build made no {RUNNER}; please report this as a bug")
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = out.with_name(out.name + ".part")
        shutil.copy(made, aside)
        aside.replace(out)
    return out
