"""A model's token table alone, without exporting the model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.matrix import read_matrix

from .facts import TOKENIZER
from .find import find_token_table
from .part import table_values
from .source import find_folder, load_graph


@dataclass(frozen=True)
class SourceTable:
    """``values`` [V, d], and where the tokenizer would be."""

    values: NDArray[np.floating]
    tokenizer: Path


def read_table(source: str, revision: str | None = None) -> SourceTable:
    """Read the table of a hub id, a folder, an .onnx file, or of a .npy or .safetensors matrix.

    Raises:
        InputError: no such source, or a model without a token table.
    """
    path = Path(source).expanduser()
    if path.suffix in (".npy", ".safetensors"):
        return SourceTable(read_matrix(path), path.parent / TOKENIZER)
    if path.suffix == ".onnx":
        table = find_token_table(load_graph(path).graph)
        return SourceTable(table_values(table), path.parent / TOKENIZER)
    folder = find_folder(source, revision)
    import transformers

    try:
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"transformers cannot load {source} ({reason})") from error
    weight = model.get_input_embeddings().weight.detach().float().numpy()
    return SourceTable(weight, folder / TOKENIZER)
