"""What a graph is for, as its outputs show: config.json may be of a model that it is a part of."""

import onnx_ir as ir

from toolkit.bundle.feeds import is_cache
from toolkit.graph.tables import find_tables

from .facts import WITH_HEADS
from .several import SPEECH, TEXT_TO_TEXT
from .text_towers import EMBEDS, POOLED

FEATURES, TOKENS = "feature-extraction", "token-classification"
_VECTORS = {
    "last_hidden_state",
    "hidden_states",
    "token_embeddings",
    "sentence_embedding",
    POOLED,
    EMBEDS,
}
_ANSWERS = {"start_logits", "end_logits"}


def task_of(graph: ir.Graph, told: str, *, has_mask: bool, labels: int = 0) -> str:
    """The task of a graph; ``told`` where its outputs do not say otherwise.

    Args:
        graph: of an .onnx file.
        told: the task that the files beside it name.
        has_mask: whether the tokenizer has a token that stands for a masked one.
        labels: how many labels the files beside it name.
    """
    outputs = {str(value.name): value for value in graph.outputs}
    if outputs.keys() >= _ANSWERS:
        return "question-answering"
    rows = max((table.rows for table in find_tables(graph)), default=0)
    logits = outputs.get("logits")
    if logits is not None:
        return _of_logits(graph, logits, told, has_mask, labels, rows)
    if told in WITH_HEADS and not any(_is_vocabulary(value, rows) for value in graph.outputs):
        return FEATURES
    return FEATURES if outputs.keys() <= _VECTORS else told


def vector_of(graph: ir.Graph, told: str | None) -> str | None:
    """The output that is one vector a text, of a graph that pools by itself; None for none.

    ``told``: what the files beside it say.
    """
    outputs = {str(value.name) for value in graph.outputs}
    return next((name for name in (EMBEDS, told) if name in outputs), None)


def _of_logits(
    graph: ir.Graph, logits: ir.Value, told: str, has_mask: bool, labels: int, rows: int
) -> str:
    if told in (TEXT_TO_TEXT, SPEECH):
        return told
    rank = None if logits.shape is None else len(logits.shape)
    words = _is_vocabulary(logits, rows)
    if told == FEATURES or (told in WITH_HEADS) != words:
        if rank == 2:
            return "multiple-choice" if _takes_choices(graph) else "text-classification"
        if rank == 3 and words:
            cached = any(is_cache(str(value.name)) for value in graph.inputs)
            return "fill-mask" if has_mask and not cached else "text-generation"
        if rank == 3 and (isinstance(_width(logits), int) or (told == FEATURES and labels)):
            return TOKENS
    return told


def _takes_choices(graph: ir.Graph) -> bool:
    """Whether its ids are [batch, choices, length]."""
    shapes = [value.shape for value in graph.inputs if value.name == "input_ids"]
    return any(shape is not None and len(shape) == 3 for shape in shapes)


def _is_vocabulary(value: ir.Value, rows: int) -> bool:
    """Whether it has a number for each of a table's ``rows``; padded tables have some more."""
    width = _width(value)
    return isinstance(width, int) and 2 * width > rows > 0


def _width(value: ir.Value) -> int | ir.SymbolicDim | None:
    return value.shape[-1] if value.shape is not None and len(value.shape) == 3 else None
