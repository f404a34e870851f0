"""LightToken's compression: a token-embedding matrix in, a packed table out."""

from . import telemetry as _telemetry  # noqa: F401 (before onnxruntime is imported)
from .allocate.budget import Budget
from .errors import LightTokenError
from .methods.compress import compress
from .methods.config import LightTokenConfig, PaperConfig
from .table.embedding import CompressedEmbedding

__all__ = [
    "Budget",
    "CompressedEmbedding",
    "LightTokenConfig",
    "LightTokenError",
    "PaperConfig",
    "compress",
]
