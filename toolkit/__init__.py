"""LightToken's compression: a token-embedding matrix in, a packed table out."""

from .budget import Budget
from .compress import compress
from .config import LightTokenConfig, PaperConfig
from .embedding import CompressedEmbedding
from .errors import LightTokenError

__all__ = [
    "Budget",
    "CompressedEmbedding",
    "LightTokenConfig",
    "LightTokenError",
    "PaperConfig",
    "compress",
]
