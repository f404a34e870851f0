"""An encoder, and its decoder with and without a cache, as modules that torch can trace.

Names and shapes are optimum's, which transformers.js reads too. A decoder's layer keeps two pairs
of keys and values: ``past_key_values.0.decoder.key`` float [batch, heads, past, d] of the tokens
before, and ``past_key_values.0.encoder.key`` float [batch, heads, encoder's length, d] of what the
encoder gave. The second pair stays as the first tokens made it, from the encoder's states.
"""

from typing import Any

import onnx_ir as ir
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from toolkit.errors import InputError

# The example that is traced: free dimensions must differ from each other, from 0 and from 1.
_BATCH, _HEARD, _LENGTH, _FURTHER, _PAST = 2, 11, 7, 5, 3
_FREE = torch.export.Dim.DYNAMIC
_KEPT = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")  # of each layer
_BATCH_NAME, _HEARD_NAME = "batch_size", "encoder_sequence_length"
_LENGTH_NAME, _PAST_NAME = "decoder_sequence_length", "past_decoder_sequence_length"
_TOTAL_NAME = f"{_PAST_NAME} + {_LENGTH_NAME}"
MASK, IDS, STATES = "encoder_attention_mask", "input_ids", "encoder_hidden_states"


class Part(nn.Module):
    """A part of an encoder-decoder with positional inputs and outputs.

    Attributes:
        inputs, outputs: their names.
        example: what is traced.
        free: the free dimensions of each input.
    """

    inputs: list[str]
    outputs: list[str]
    example: tuple[Tensor, ...]
    free: list[dict[int, Any]]


class TextEncoder(Part):
    """The encoder of texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        self.inputs, self.outputs = [IDS, "attention_mask"], ["last_hidden_state"]
        self.example = (_ids(model, _HEARD), _ones())
        self.free = [{0: _FREE, 1: _FREE}] * 2

    def forward(self, *inputs: Tensor) -> Tensor:
        """Ids and mask, int64 [batch, length]; float [batch, length, d]."""
        ids, mask = inputs
        _same(ids, 0, mask, 0)
        _same(ids, 1, mask, 1)
        return _states(self.encoder(input_ids=ids, attention_mask=mask, return_dict=True))


class SpeechEncoder(Part):
    """Whisper's encoder, which hears thirty seconds."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        self.inputs, self.outputs = ["input_features"], ["last_hidden_state"]
        config = model.config
        strides = self.encoder.conv1.stride[0] * self.encoder.conv2.stride[0]
        frames = config.max_source_positions * strides
        self.example = (torch.zeros(_BATCH, config.num_mel_bins, frames),)
        self.free = [{0: _FREE}]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Float [batch, mels, frames]; float [batch, frames / 2, d]."""
        return _states(self.encoder(*inputs, return_dict=True))


class FirstTokens(Part):
    """The decoder of the first tokens, which makes both pairs of keys and values."""

    def __init__(self, model: Any, encoder: Part) -> None:
        super().__init__()
        self.model = model
        self.masked = masked = isinstance(encoder, TextEncoder)
        self.inputs = [MASK, IDS, STATES] if masked else [IDS, STATES]
        with torch.no_grad():
            width = encoder(*encoder.example).shape[-1]
        self.example = (_ids(model, _LENGTH), torch.zeros(_BATCH, _HEARD, width))
        self.free = [{0: _FREE, 1: _FREE}] * len(self.inputs)
        if masked:
            self.example = (_ones(), *self.example)
        with torch.no_grad():
            self.kept = list(self(*self.example)[1:])
        _check(model, self.kept)
        self.outputs = ["logits", *kept_names(len(self.kept), "present")]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of ``inputs``; logits, then four tensors for each layer."""
        cache = transformers.EncoderDecoderCache(
            transformers.DynamicCache(), transformers.DynamicCache()
        )
        return _run(self.model, inputs, cache, masked=self.masked)


class FurtherTokens(Part):
    """The decoder of all further tokens, which gives longer keys and values of the tokens alone."""

    def __init__(self, first: FirstTokens) -> None:
        super().__init__()
        self.model, self.masked = first.model, first.masked
        self.inputs = [*first.inputs, *kept_names(len(first.kept), "past_key_values")]
        kept = [
            tensor[:, :, :_PAST] if index % 4 < 2 else tensor
            for index, tensor in enumerate(first.kept)
        ]
        *mask, ids, states = first.example
        self.example = (*mask, ids[:, :_FURTHER], states, *kept)
        self.free = [*first.free, *({0: _FREE, 2: _FREE} for _ in kept)]
        self.outputs = [name for name in first.outputs if ".encoder." not in name]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """In the order of ``inputs``; logits, then two tensors for each layer."""
        given = 3 if self.masked else 2
        kept = inputs[given:]
        for index, tensor in enumerate(kept):
            _same(tensor, 0, inputs[given - 1], 0)
            _same(tensor, 2, *((kept[0], 2) if index % 4 < 2 else (inputs[given - 1], 1)))
        # Without the model's config every layer keeps all tokens, as runtimes hand them in.
        tokens, heard = transformers.DynamicCache(), transformers.DynamicCache()
        for layer in range(len(kept) // 4):
            key, value, heard_key, heard_value = kept[4 * layer : 4 * layer + 4]
            tokens.update(key, value, layer)
            heard.update(heard_key, heard_value, layer)
        cache = transformers.EncoderDecoderCache(tokens, heard)  # knows what was heard already
        logits, *longer = _run(self.model, inputs[:given], cache, masked=self.masked)
        return (logits, *(each for index, each in enumerate(longer) if index % 4 < 2))


def encoder_of(model: Any, *, speech: bool) -> Part:
    """What hears or reads.

    Raises:
        InputError: a speech model other than Whisper.
    """
    if not speech:
        return TextEncoder(model)
    if model.config.model_type != "whisper":
        kind = type(model).__name__
        raise InputError(f"a {kind} is no Whisper, which is traced alone; use --exporter optimum")
    return SpeechEncoder(model)


def kept_names(tensors: int, prefix: str) -> list[str]:
    """``PREFIX.0.decoder.key`` … ``PREFIX.0.encoder.value``, ``PREFIX.1.decoder.key`` …"""
    return [f"{prefix}.{index // 4}.{_KEPT[index % 4]}" for index in range(tensors)]


def name_dimensions(graph: ir.Graph) -> None:
    """Free dimensions of the encoder or the decoder by what they are, in optimum's words."""
    encodes = any(value.name == "last_hidden_state" for value in graph.outputs)
    for value in (*graph.inputs, *graph.outputs):
        name, shape = value.name or "", value.shape
        if shape is None:
            continue
        if name.endswith((".key", ".value")):
            own = _PAST_NAME if name.startswith("past") else _TOTAL_NAME
            free = [_BATCH_NAME, None, _HEARD_NAME if ".encoder." in name else own, None]
        elif name == "input_features":
            free = [_BATCH_NAME, None, None]
        elif encodes or name in (MASK, STATES):
            free = [_BATCH_NAME, _HEARD_NAME, None]
        else:
            free = [_BATCH_NAME, _LENGTH_NAME, None]
        fixed = (isinstance(dim, int) for dim in shape)
        value.shape = ir.Shape(
            [
                dim if is_fixed or name is None else name
                for dim, name, is_fixed in zip(shape, free, fixed, strict=False)
            ]
        )


def _run(model: Any, given: tuple[Tensor, ...], cache: Any, *, masked: bool) -> tuple[Tensor, ...]:
    *mask, ids, states = given
    output: Any = BaseModelOutput
    _same(ids, 0, states, 0)
    for each in mask:
        _same(each, 0, states, 0)
        _same(each, 1, states, 1)
    found = model(
        decoder_input_ids=ids,
        encoder_outputs=output(last_hidden_state=states),
        past_key_values=cache,
        use_cache=True,
        return_dict=True,
        **({"attention_mask": mask[0]} if masked else {}),
    )
    return found.logits, *_tensors(found.past_key_values)


def _same(one: Tensor, axis: int, other: Tensor, others_axis: int) -> None:
    """Tell torch that two free dimensions are one: it calls each input's by a name of its own."""
    check: Any = torch._check
    check(one.shape[axis] == other.shape[others_axis])


def _tensors(cache: Any) -> list[Any]:
    """Four tensors for each layer; none of another kind of state."""
    tokens = getattr(getattr(cache, "self_attention_cache", None), "layers", [])
    heard = getattr(getattr(cache, "cross_attention_cache", None), "layers", [])
    return [
        getattr(layer, name, None)
        for both in zip(tokens, heard, strict=False)
        for layer in both
        for name in ("keys", "values")
    ]


def _check(model: Any, kept: list[Any]) -> None:
    lengths = [_LENGTH, _LENGTH, _HEARD, _HEARD] * (len(kept) // 4)
    if not kept or any(
        tensor is None or tensor.ndim != 4 or tensor.shape[2] != length
        for tensor, length in zip(kept, lengths, strict=True)
    ):
        kind = type(model).__name__
        raise InputError(f"a {kind} keeps no keys and values of each token; drop --with-past")


def _states(found: Any) -> Tensor:
    states: Tensor = found.last_hidden_state
    return states


def _ids(model: Any, length: int) -> Tensor:
    rows = model.get_input_embeddings().weight.shape[0]
    return torch.arange(_BATCH * length).reshape(_BATCH, length) % rows


def _ones() -> Tensor:
    return torch.ones(_BATCH, _HEARD, dtype=torch.long)
