"""A model in, a bundle out: export to ONNX, rewrite the table, check, write."""

from .export import export
from .inspect import inspect_model
from .options import ExportOptions
from .sources.source import load_source, read_table

__all__ = ["ExportOptions", "export", "inspect_model", "load_source", "read_table"]
