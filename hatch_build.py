"""Puts the native kernel into the wheel, where it can be built; else the wheel is pure Python."""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """hatchling's way to run code before a wheel is made; editable installs use `lighttoken op`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the kernel and name the wheel after the machine it is for."""
        if version == "editable":
            return
        build = _load(Path(self.root) / "runtime" / "custom_op" / "build.py")
        try:
            headers = build.find_headers(None)
            library = build.build(build.TARGETS["host"], headers, build.LIBRARY)
        except build.BuildError as error:
            self.app.display_warning(f"without the native kernel: {error}")
            return
        build_data["artifacts"].append(library.relative_to(self.root).as_posix())
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lighttoken_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
