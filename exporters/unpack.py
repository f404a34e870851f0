"""The rows that a packed table in a model stands for, as its own graph decodes them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError

from .decode import NAME
from .layer import DOMAIN
from .part import looked_up
from .source import load_graph


def packed_rows(model: Path, rows: int) -> NDArray[np.float32]:
    """Every row of the packed table with ``rows`` rows, float32 [rows, d].

    Raises:
        InputError: no .onnx file, or none with such a table in a node of its own: a graph whose
            decode function was dissolved does not say where it begins.
    """
    loaded = load_graph(model)
    for node in loaded.graph.all_nodes():
        if node.domain != DOMAIN or not node.op_type.startswith(NAME):
            continue
        ids = node.inputs[0]
        if ids is None or node.attributes.get_int("rows", 0) != rows:
            continue
        functions = tuple(loaded.functions.values())
        parts = looked_up(loaded.graph, ids, node.outputs[0], rows, functions)
        return np.concatenate([values for _, values in parts])
    raise InputError(
        f"{model} has no {NAME} node of {rows} rows, whose table could be read back; "
        "export it with `--decode function`"
    )
