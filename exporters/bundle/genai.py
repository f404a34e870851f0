"""genai_config.json: what onnxruntime-genai has to be told to write with a decoder's bundle.

It asks for names and shapes of the cache, which the graph has, and for tokens and lengths, which
the model's own files have.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from toolkit.bundle.feeds import LOGITS_TO_KEEP
from toolkit.bundle.generation import CONFIG, GENAI_CONFIG, GENERATION_CONFIG, end_ids, ids_of
from toolkit.errors import InputError
from toolkit.json_text import json_text

from ..sources.facts import read_json

# Models that onnxruntime-genai has a name for and runs as it runs any other decoder. It knows more
# names, but treats what is called so in a way of its own (phi3 is read again after 4096 tokens).
_NAMED = frozenset(
    {
        *("ernie4_5", "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral"),
        *("nemotron", "olmo", "phi", "qwen2", "qwen3", "smollm3"),
    }
)
_ANY = "decoder"  # its name for all others; 0.18 knows it, 0.11 does not
_CACHE = re.compile(r"^(past_key_values|present)\.(\d+)\.(key|value)$")
_IDS, _LOGITS = "input_ids", "logits"
_OTHERS = ("attention_mask", "position_ids")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# What generation_config.json may set; onnxruntime-genai calls it the same.
_SEARCH = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")
# One size, as the families of models call it in config.json.
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "num_heads")


class NotForGenai(Exception):  # noqa: N818 (no error: the bundle is as good without)
    """onnxruntime-genai cannot write with this model; the text says why."""


def write_genai_config(
    folder: Path,
    source: Path,
    graph: ir.Graph,
    model: str,
    *,
    rows: int,
    width: int,
    given: Path | None = None,
) -> str:
    """Write ``folder/genai_config.json``, if onnxruntime-genai can write with the bundle.

    Args:
        folder: of the bundle.
        source: where the model's configuration files are.
        graph: of the bundle.
        model: its file, relative to ``folder``.
        rows: of the token table.
        width: of the token table.
        given: the genai_config.json of the graph before its table was packed, which comes along
            with the new file's name.

    Returns:
        Why there is no such file; "" where there is one.

    Raises:
        InputError: a damaged configuration file.
    """
    try:
        if given is not None:
            config = renamed(read_json(given), model)
        else:
            config = genai_config(graph, source, model, rows=rows, width=width)
    except NotForGenai as reason:
        return str(reason)
    (folder / GENAI_CONFIG).write_text(json_text(config) + "\n", encoding="utf-8")
    return ""


def renamed(config: dict[str, Any], model: str) -> dict[str, Any]:
    """A configuration of onnxruntime-genai for another file of the same inputs and outputs."""
    held = config.get("model")
    decoder = held.get("decoder") if isinstance(held, dict) else None
    if not isinstance(held, dict) or not isinstance(decoder, dict):
        raise NotForGenai(f"the model's {GENAI_CONFIG} is not that of a decoder")
    return config | {"model": held | {"decoder": decoder | {"filename": model}}}


def write_parts(folder: Path, given: Path, names: Mapping[str, str]) -> None:
    """Write ``folder/genai_config.json`` of a model of several files, as ``given`` says it.

    ``names``: where each file is in ``folder``, by its name in ``given``.

    Raises:
        InputError: ``given`` is damaged.
    """
    config = read_json(given)
    model = dict(config["model"])
    for word, part in model.items():
        if isinstance(part, dict) and part.get("filename") in names:
            model[word] = part | {"filename": names[part["filename"]]}
    text = json_text(config | {"model": model}) + "\n"
    (folder / GENAI_CONFIG).write_text(text, encoding="utf-8")


def genai_config(
    graph: ir.Graph, source: Path, model: str, *, rows: int, width: int
) -> dict[str, Any]:
    """The configuration of a decoder's graph; arguments as in :func:`write_genai_config`.

    Raises:
        NotForGenai: the graph has no cache, or one that onnxruntime-genai cannot keep; or nothing
            says how many tokens the model reads.
        InputError: a damaged configuration file.
    """
    config, generation = read_json(source / CONFIG), read_json(source / GENERATION_CONFIG)
    layers, heads, size = _cache(graph)
    others = _other_inputs(graph)
    length = _first(config, _LENGTHS)
    if length is None:
        raise NotForGenai(f"{CONFIG} does not say how many tokens the model reads")
    ends = end_ids(source, error=InputError, remedy="download the model again")
    settings = {name: generation[name] for name in _SEARCH if generation.get(name) is not None}
    return {
        "model": {
            "type": config["model_type"] if config.get("model_type") in _NAMED else _ANY,
            "context_length": length,
            "vocab_size": _vocabulary(graph, rows),
            **_special_ids(config, generation, ends),
            "decoder": {
                "filename": model,
                "session_options": {"provider_options": []},
                "hidden_size": _first(config, _WIDTHS) or width,
                "head_size": size,
                "num_attention_heads": _first(config, _HEADS) or heads,
                "num_key_value_heads": heads,
                "num_hidden_layers": layers,
                "inputs": {
                    _IDS: _IDS,
                    **{name: name for name in others},
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    _LOGITS: _LOGITS,
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        # The graph gives the cache as a tensor of its own, longer than the one that it takes.
        "search": {"max_length": length, "past_present_share_buffer": False} | settings,
    }


def _cache(graph: ir.Graph) -> tuple[int, int, int]:
    """Layers, heads of keys and values, numbers of a head: one size for all layers."""
    sizes: list[tuple[Any, Any]] = []
    found: dict[str, set[tuple[int, str]]] = {"past_key_values": set(), "present": set()}
    for value in (*graph.inputs, *graph.outputs):
        match = _CACHE.match(value.name or "")
        if match is None:
            continue
        found[match[1]].add((int(match[2]), match[3]))
        shape = () if value.shape is None else tuple(value.shape)
        if value.is_graph_input():
            if len(shape) != 4 or value.dtype not in _FLOATS:
                raise NotForGenai(f"the cache {value.name} is no float [batch, heads, past, size]")
            sizes.append((shape[1], shape[3]))
    layers = len(found["present"]) // 2
    whole = {(layer, kind) for layer in range(layers) for kind in ("key", "value")}
    if not layers:
        raise NotForGenai("the graph has no cache; --with-past makes one")
    if found["present"] != whole or found["past_key_values"] != whole:
        raise NotForGenai("not every layer has keys and values of its own")
    if len(set(sizes)) != 1 or not all(isinstance(size, int) for size in sizes[0]):
        raise NotForGenai("keys and values are not of one size in all layers")
    heads, size = sizes[0]
    return layers, heads, size


def _other_inputs(graph: ir.Graph) -> list[str]:
    """Inputs beside ids and cache that onnxruntime-genai gives."""
    names = [str(value.name) for value in graph.inputs if not _CACHE.match(value.name or "")]
    unknown = [name for name in names if name not in (_IDS, *_OTHERS, LOGITS_TO_KEEP)]
    if unknown or _IDS not in names:
        raise NotForGenai(f"the graph's inputs are {', '.join(names)}")
    if _LOGITS not in {value.name for value in graph.outputs}:
        raise NotForGenai(f"the graph has no output {_LOGITS}")
    for value in graph.inputs:
        shape = () if value.shape is None else tuple(value.shape)
        if value.name == _IDS and any(isinstance(size, int) for size in shape):
            raise NotForGenai(f"the graph takes ids [{', '.join(map(str, shape))}] and no others")
    return [name for name in _OTHERS if name in names]


def _vocabulary(graph: ir.Graph, rows: int) -> int:
    """Logits of a token: a head may have more or fewer rows than the table."""
    logits = next(value for value in graph.outputs if value.name == _LOGITS)
    last = logits.shape[-1] if logits.shape is not None and len(logits.shape) else None
    return last if isinstance(last, int) else rows


def _special_ids(
    config: Mapping[str, Any], generation: Mapping[str, Any], ends: Sequence[int]
) -> dict[str, Any]:
    """Those that are known; a text that is padded to the length of others needs one of them."""
    found: dict[str, Any] = {}
    if ends:
        found["eos_token_id"] = list(ends)
    for name in ("bos_token_id", "pad_token_id"):
        ids = ids_of(generation.get(name)) + ids_of(config.get(name))
        if ids:
            found[name] = ids[0]
    if ends:
        found.setdefault("pad_token_id", ends[0])
    return found


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The first of the sizes that config.json has."""
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)
