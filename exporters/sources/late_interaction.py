"""ColBERT models: where the projection of their token vectors is, and whether a graph holds it."""

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from toolkit.bundle.dense import WEIGHTS, Dense, read_dense, read_linear
from toolkit.bundle.projection import needed_projection

from .facts import CONFIG, Facts, read_json

_STATES = "last_hidden_state"


def read_projection(folder: Path, modules: tuple[str, ...]) -> tuple[Dense, ...]:
    """The layers of ``Facts.projection``, in order.

    Raises:
        InputError: a file is missing or damaged, or the layers do not fit.
    """
    return tuple(read_dense(folder / name) if name else read_linear(folder) for name in modules)


def in_the_graph(facts: Facts) -> Facts:
    """Without the files of a projection that the exported graph holds."""
    held = {f"{name}/{weights}" for name in facts.projection if name for weights in WEIGHTS}
    return replace(facts, assets=tuple(name for name in facts.assets if name not in held))


def of_graph(facts: Facts, graph: ir.Graph, folder: Path) -> Facts:
    """Of an .onnx file of such a model: what its outputs make possible.

    Raises:
        InputError: the projection is neither in the graph nor beside it.
    """
    values = [value for value in graph.outputs if value.shape is not None and len(value.shape) == 3]
    if facts.task != "feature-extraction" or not values:
        return replace(facts, pooling=None)
    output = next((value for value in values if value.name == _STATES), values[0])
    last = output.shape[-1] if output.shape is not None else None
    width = last if isinstance(last, int) else None
    if "" not in facts.projection:
        needed_projection(folder, str(output.name), width)  # says what is missing
        return facts
    hidden = read_json(folder / CONFIG).get("hidden_size")
    if output.name != _STATES if width is None else width != hidden:
        return facts
    note = (
        f"{output.name} has ColBERT's token vectors before their projection, which no file beside "
        "the model holds: `run` prints cosines between their means; export its folder with "
        "model.safetensors for MaxSim"
    )
    return replace(facts, pooling=None, notes=(*facts.notes, note))
