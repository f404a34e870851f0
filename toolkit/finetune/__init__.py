"""Packed tables in PyTorch: train on one, heal one, and pack it again."""

from .attach import CompressedHead, attach, detach
from .module import CompressedEmbedding

__all__ = ["CompressedEmbedding", "CompressedHead", "attach", "detach"]
