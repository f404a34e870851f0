"""A model in, a bundle out: export to ONNX, rewrite the table, check, write.

Names are imported on first use: the help of the command reads the options of an export, and need
not load onnx for it.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import toolkit.telemetry  # noqa: F401 (before onnxruntime is imported)

if TYPE_CHECKING:
    from .export import export
    from .inspect import inspect_model
    from .options import ExportOptions
    from .sources.source import load_source, read_table

__all__ = ["ExportOptions", "export", "inspect_model", "load_source", "read_table"]

_HOMES = {
    "ExportOptions": "options",
    "export": "export",
    "inspect_model": "inspect",
    "load_source": "sources.source",
    "read_table": "sources.source",
}


class _Package(ModuleType):
    """``exporters.export`` is the function, although the module that holds it has its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "export" and isinstance(value, ModuleType):  # what importing a module does
            value = value.export
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
