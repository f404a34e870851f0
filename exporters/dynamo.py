"""torch.onnx.export(dynamo=True) on a transformers folder."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
import transformers
from torch import Tensor, nn

from .facts import Facts

# The example that is traced: free dimensions must differ from each other, from 0 and from 1.
_BATCH, _LENGTH = 2, 9
_OUTPUTS = {
    "feature-extraction": "last_hidden_state",
    "fill-mask": "logits",
    "text-classification": "logits",
    "text-generation": "logits",
}


class PositionalModel(nn.Module):
    """The model with positional inputs and one output, so the graph has these and no others."""

    def __init__(self, model: Any, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.output = output

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs int64 [batch, sequence] in the order of ``names``."""
        named = dict(zip(self.names, inputs, strict=True))
        return self.model(**named, return_dict=True)[self.output]


def export(folder: Path, facts: Facts) -> ir.Model:
    """Trace and translate; batch and sequence stay free dimensions."""
    name = facts.architecture or "AutoModel"
    if facts.task == "feature-extraction" and not name.endswith("Model"):
        name = "AutoModel"  # the encoder below a head: its hidden states are wanted
    kind = getattr(transformers, name, transformers.AutoModel)
    model = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    names = _input_names(model, folder)
    output = _OUTPUTS[facts.task]
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        PositionalModel(model, names, output),
        _example(names, model.get_input_embeddings().weight.shape[0]),
        dynamo=True,
        input_names=list(names),
        output_names=[output],
        dynamic_shapes=(tuple({0: free, 1: free} for _ in names),),
        verbose=False,
    )
    assert program is not None
    graph: ir.Model = program.model
    _name_free_dimensions(graph)
    return graph


def _input_names(model: Any, folder: Path) -> tuple[str, ...]:
    """Ids and mask; token types only where the tokenizer makes them and the model reads them."""
    accepted = inspect.signature(model.forward).parameters
    made = ["input_ids", "attention_mask"]
    # A folder without a usable tokenizer still exports: its bundle takes ids, not text.
    with contextlib.suppress(Exception):
        tokenizer = transformers.AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True
        )
        made = tokenizer.model_input_names
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    return tuple(name for name in wanted if name in accepted and name in made)


def _example(names: tuple[str, ...], rows: int) -> tuple[Tensor, ...]:
    shape = (_BATCH, _LENGTH)
    values = {
        "input_ids": torch.arange(_BATCH * _LENGTH).reshape(shape) % rows,
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
    }
    return tuple(values[name] for name in names)


def _name_free_dimensions(model: ir.Model) -> None:
    """Call the free dimensions batch and sequence, as the hub's own ONNX files do."""
    first = model.graph.inputs[0].shape
    if first is None:
        return
    names = dict(zip((str(dim) for dim in first), ("batch", "sequence"), strict=False))
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    dim if isinstance(dim, int) else names.get(str(dim), str(dim))
                    for dim in value.shape
                ]
            )
