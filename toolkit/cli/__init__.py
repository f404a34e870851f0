"""The ``lighttoken`` command: the one place that knows all three packages."""

from .app import main

__all__ = ["main"]
