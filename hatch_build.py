"""Puts the native kernel into the wheel, where it can be built; else the wheel is pure Python."""

import importlib.util
import os
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "LIGHTTOKEN_TARGET"
"""Environment variable: the machine that the wheel is for, one of the kernel's targets; `host` is
this one. A kernel that cannot be built is an error then."""


class CustomBuildHook(BuildHookInterface):
    """hatchling's way to run code before a wheel is made; editable installs use `lighttoken op`."""

    def dependencies(self) -> list[str]:
        """What building for another machine takes: zig's compiler, as a Python package."""
        return ["ziglang>=0.13"] if os.environ.get(TARGET, "host") != "host" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the kernel and name the wheel after the machine it is for."""
        if version == "editable":
            return
        build = _load(Path(self.root) / "runtime" / "custom_op" / "build.py")
        wanted = os.environ.get(TARGET)
        try:
            target = _find(build, wanted)
            self._folder = tempfile.TemporaryDirectory()
            out = Path(self._folder.name) / target.library
            library = build.build(target, build.find_headers(None), out)
        except build.BuildError as error:
            if wanted:
                raise SystemExit(f"error: no wheel for {wanted}: {error}") from error
            self.app.display_warning(f"without the native kernel: {error}")
            return
        build_data["force_include"][str(library)] = f"runtime/custom_op/{target.library}"
        build_data["pure_python"] = False
        here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{target.wheel or here}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the kernel's folder: the wheel has it now."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _find(build: Any, wanted: str | None) -> Any:
    """The kernel's target of that name; this machine for None."""
    wheels = {name: target for name, target in build.TARGETS.items() if target.wheel}
    target = (wheels | {"host": build.TARGETS["host"]}).get(wanted or "host")
    if target is None:
        raise build.BuildError(f"{TARGET} is {wanted!r}; give host, {', '.join(wheels)}")
    return target


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lighttoken_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
