"""A model in onnxruntime's own format, and what a minimal build of it has to know."""

from pathlib import Path

import onnxruntime as ort

from toolkit.ort import cpu_session, quiet_options
from toolkit.quiet import quiet

SUFFIX = ".ort"
CONFIG_SUFFIX = ".required_operators.config"


def save_ort(model: Path, target: Path) -> Path:
    """Write ``model`` as ``target`` (.ort), functions inlined, and its operators beside it.

    The file holds all weights and can be mapped into memory as a whole
    (``session.use_memory_mapped_ort_model``). Only what runs on any processor is optimised.

    Returns:
        The path of the operators' configuration, for onnxruntime's ``--include_ops_by_config``.
    """
    from onnxruntime.tools.ort_format_model import create_config_from_models

    options = quiet_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    cpu_session(model, options)
    config = target.with_name(target.stem + CONFIG_SUFFIX)
    with quiet():
        create_config_from_models([target], config, enable_type_reduction=True)
    # It begins with the path that the model had here.
    lines = [
        line for line in config.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def to_ort(model: Path) -> Path:
    """Write a bundle's ``model`` in onnxruntime's format beside it; the new file's path."""
    target = model.with_suffix(SUFFIX)
    save_ort(model, target)
    return target
