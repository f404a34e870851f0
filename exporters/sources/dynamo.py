"""torch.onnx.export(dynamo=True) on a transformers folder."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
import transformers
from torch import Tensor, nn

from toolkit.bundle.feeds import DECODER_IDS
from toolkit.bundle.late_interaction import TOKEN_VECTORS

from . import decoder_cache, encoder_decoder_cache
from .facts import Facts
from .late_interaction import read_projection
from .merged import merge
from .projected import ProjectedModel
from .several import ENCODER, MERGED, SPEECH
from .text_towers import text_tower
from .tied import keep_two
from .whole import check_whole

# The example that is traced: free dimensions must differ from each other, from 0 and from 1.
_BATCH, _CHOICES, _LENGTH, _DECODER_LENGTH = 2, 3, 9, 7
_FREE = torch.export.Dim.DYNAMIC
_OUTPUTS = {
    "feature-extraction": ("last_hidden_state",),
    "fill-mask": ("logits",),
    "text-classification": ("logits",),
    "text-ranking": ("logits",),
    "multiple-choice": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "text-generation": ("logits",),
    "text2text-generation": ("logits",),
}


# Fused attention is decomposed into products with other strides, which the reshape behind T5's,
# traced as a view, does not survive.
_EAGER = ("t5", "mt5", "umt5")


class PositionalModel(nn.Module):
    """The model with positional inputs and outputs, so the graph has these and no others."""

    def __init__(self, model: Any, names: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs int64 [batch, sequence] in the order of ``names``; choices between the two."""
        named = dict(zip(self.names, inputs, strict=True))
        found = self.model(**named, return_dict=True)
        return tuple(found[name] for name in self.outputs)


# Where the class is not one of transformers' own, the folder's code says which it is.
_AUTO_CLASSES = {
    "feature-extraction": transformers.AutoModel,
    "fill-mask": transformers.AutoModelForMaskedLM,
    "text-classification": transformers.AutoModelForSequenceClassification,
    "text-ranking": transformers.AutoModelForSequenceClassification,
    "token-classification": transformers.AutoModelForTokenClassification,
    "multiple-choice": transformers.AutoModelForMultipleChoice,
    "question-answering": transformers.AutoModelForQuestionAnswering,
    "text-generation": transformers.AutoModelForCausalLM,
    "text2text-generation": transformers.AutoModelForSeq2SeqLM,
    "automatic-speech-recognition": transformers.AutoModelForSpeechSeq2Seq,
}


def load_model(folder: Path, facts: Facts, *, trust_remote_code: bool = False) -> Any:
    """The model of a folder in float32, with the head that its task has, for one pass a call.

    Raises:
        InputError: as :func:`.whole.check_whole` and :func:`.tied.keep_two`.
    """
    tower = text_tower(facts.architecture) if facts.vector is not None else None
    name = (tower.name if tower else facts.architecture) or "AutoModel"
    if tower is None and facts.task == "feature-extraction" and not name.endswith("Model"):
        name = "AutoModel"  # the encoder below a head: its hidden states are wanted
    auto = _AUTO_CLASSES[facts.task]
    kind: Any = auto
    if not (trust_remote_code and facts.remote_code):
        kind = getattr(transformers, name, auto)
    options = {} if tower is None or not tower.whole else {"config": _texts_config(folder)}
    attention = {"attn_implementation": "eager"} if facts.model_type in _EAGER else {}
    model, found = kind.from_pretrained(
        folder,
        dtype=torch.float32,
        **attention,
        **options,
        local_files_only=not trust_remote_code,  # the code may be in another repository
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    check_whole(folder, found["missing_keys"], facts.task)
    model.eval()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    keep_two(model, folder)
    return model


def _texts_config(folder: Path) -> Any:
    """What a model of texts and images says of its text half."""
    config: Any = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    text = config.text_config
    if hasattr(config, "projection_dim"):
        text.projection_dim = config.projection_dim  # the whole one's counts, and may differ
    return text


def export(
    folder: Path, facts: Facts, *, trust_remote_code: bool = False, with_past: bool = False
) -> ir.Model:
    """Trace and translate; batch and sequence stay free dimensions.

    ``with_past``: a decoder takes and gives a cache, see :mod:`.decoder_cache`.
    """
    model = load_model(folder, facts, trust_remote_code=trust_remote_code)
    if with_past:
        return _export_with_past(model)
    names = _input_names(model, folder, facts.task, trust_remote_code)
    tower = text_tower(facts.architecture)
    if tower is not None and tower.reads_padding:
        names = ("input_ids",)  # a mask would hide what it was trained to read
    outputs = _OUTPUTS[facts.task] if facts.vector is None else (facts.vector,)
    positional: nn.Module = PositionalModel(model, names, outputs)
    if facts.projection:
        positional = ProjectedModel(positional, read_projection(folder, facts.projection))
        outputs = (TOKEN_VECTORS,)
    example = _example(names, model.get_input_embeddings().weight.shape[0])
    if facts.task == "multiple-choice":
        example = tuple(values[:, None].repeat(1, _CHOICES, 1) for values in example)
    graph = _trace(
        positional,
        example,
        list(names),
        list(outputs),
        [dict.fromkeys(range(values.ndim), _FREE) for values in example],
    )
    _name_free_dimensions(graph)
    return graph


def _export_with_past(model: Any) -> ir.Model:
    accepted = inspect.signature(model.forward).parameters
    names = tuple(
        name for name in ("input_ids", "attention_mask", "position_ids") if name in accepted
    )
    ids = _example(("input_ids",), model.get_input_embeddings().weight.shape[0])[0]
    total = decoder_cache.example_length(ids.shape[1])
    positions = torch.arange(total - ids.shape[1], total).repeat(len(ids), 1)
    values = {
        "input_ids": ids,
        "attention_mask": torch.ones(len(ids), total, dtype=torch.long),
        "position_ids": positions,
    }
    cache = decoder_cache.example_cache(model, len(ids))
    graph = _trace(
        decoder_cache.CachedModel(model, names),
        (*(values[name] for name in names), *cache),
        [*names, *decoder_cache.cache_names(len(cache), "past_key_values")],
        ["logits", *decoder_cache.cache_names(len(cache), "present")],
        [{0: _FREE, 1: _FREE} for _ in names] + [{0: _FREE, 2: _FREE} for _ in cache],
    )
    decoder_cache.name_dimensions(graph.graph)
    return graph


def export_several(
    folder: Path, facts: Facts, *, trust_remote_code: bool = False
) -> dict[str, ir.Model]:
    """The encoder, and the decoder with a cache, by the names of their files.

    Raises:
        InputError: a speech model whose encoder is not Whisper's.
    """
    model = load_model(folder, facts, trust_remote_code=trust_remote_code)
    encoder = encoder_decoder_cache.encoder_of(model, speech=facts.task == SPEECH)
    first = encoder_decoder_cache.FirstTokens(model, encoder)
    further = encoder_decoder_cache.FurtherTokens(first)
    graphs = []
    for part in (encoder, first, further):
        graph = _trace(part, part.example, part.inputs, part.outputs, part.free)
        encoder_decoder_cache.name_dimensions(graph.graph)
        graphs.append(graph)
    return {ENCODER: graphs[0], MERGED: merge(graphs[1], graphs[2])}


def _trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    free: list[dict[int, Any]],
) -> ir.Model:
    """The graph of a module with positional inputs; ``free``: each one's free dimensions."""
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=(tuple(free),),
        verbose=False,
    )
    assert program is not None
    graph: ir.Model = program.model
    return graph


def _input_names(model: Any, folder: Path, task: str, trust_remote_code: bool) -> tuple[str, ...]:
    """Ids and mask; token types only where the tokenizer makes them and the model reads them.

    Where no tokenizer can be loaded here, the model decides: it may tell pairs of texts by them.

    The decoder's ids of an encoder-decoder come last: one graph, in which both look up one table.
    """
    accepted = inspect.signature(model.forward).parameters
    made = ["input_ids", "attention_mask"]
    if (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
        made.append("token_type_ids")
    # A folder without a usable tokenizer still exports: its bundle takes ids, not text.
    with contextlib.suppress(Exception):
        tokenizer = transformers.AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
            folder,
            local_files_only=not trust_remote_code,
            trust_remote_code=trust_remote_code,
        )
        made = tokenizer.model_input_names
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    names = tuple(name for name in wanted if name in accepted and name in made)
    return (*names, DECODER_IDS) if task == "text2text-generation" else names


def _example(names: tuple[str, ...], rows: int) -> tuple[Tensor, ...]:
    shape = (_BATCH, _LENGTH)
    values = {
        "input_ids": torch.arange(_BATCH * _LENGTH).reshape(shape) % rows,
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
        DECODER_IDS: torch.arange(_BATCH * _DECODER_LENGTH).reshape(_BATCH, -1) % rows,
    }
    return tuple(values[name] for name in names)


def _name_free_dimensions(model: ir.Model) -> None:
    """Call the free dimensions batch and sequence, as the hub's own ONNX files do."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        length = "decoder_sequence" if value.name == DECODER_IDS else "sequence"
        shape = value.shape or ()
        between = ["choices"] * (len(shape) - 2)
        for dim, name in zip(shape, ("batch", *between, length), strict=False):
            names.setdefault(str(dim), name)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    dim if isinstance(dim, int) else names.get(str(dim), str(dim))
                    for dim in value.shape
                ]
            )
