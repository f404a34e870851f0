"""LightToken by its own name: the public functions of its three packages, and nothing else.

``toolkit`` compresses tables, ``exporters`` makes bundles, ``runtime`` runs them. Names are
imported on first use, so that ``import lighttoken`` loads neither torch nor onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import toolkit.telemetry  # noqa: F401 (before onnxruntime is imported)

if TYPE_CHECKING:
    from exporters import ExportOptions, export
    from runtime import Sampling, Session, open_pipeline, open_session
    from runtime.native import get_library_path
    from toolkit import Budget, CompressedEmbedding, LightTokenConfig, LightTokenError, compress
    from toolkit.bundle.manifest import Manifest, read_manifest

    __version__: str

__all__ = [
    "Budget",
    "CompressedEmbedding",
    "ExportOptions",
    "LightTokenConfig",
    "LightTokenError",
    "Manifest",
    "Sampling",
    "Session",
    "__version__",
    "compress",
    "export",
    "get_library_path",
    "open_pipeline",
    "open_session",
    "read_manifest",
]

_HOMES = {
    "Budget": "toolkit",
    "CompressedEmbedding": "toolkit",
    "ExportOptions": "exporters",
    "LightTokenConfig": "toolkit",
    "LightTokenError": "toolkit",
    "Manifest": "toolkit.bundle.manifest",
    "Sampling": "runtime",
    "Session": "runtime",
    "compress": "toolkit",
    "export": "exporters",
    "get_library_path": "runtime.native",
    "open_pipeline": "runtime",
    "open_session": "runtime",
    "read_manifest": "toolkit.bundle.manifest",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lighttoken")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
