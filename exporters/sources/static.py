"""Static embeddings: models that are a table of token vectors and a mean, and nothing else.

Two layouts: model2vec's (``embeddings`` in model.safetensors) and sentence-transformers' module
StaticEmbedding. No exporter knows them; the graph is written here, with the mean in it.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.bundle.dense import WEIGHTS, read_tensors
from toolkit.errors import InputError
from toolkit.inside import is_no_part

from .facts import CONFIG, TOKENIZER, Facts, read_json
from .folder_files import MODULES
from .licence import licence_files, licence_name
from .settings import Settings

STATIC = "static"
"""What the manifest calls the exporter of such models."""
_MODULE, _NORMALIZE, _TYPE = "StaticEmbedding", "Normalize", "model2vec"
_NAMES = ("embeddings", "embedding.weight")
_LENGTH = 512  # tokens that model2vec cuts texts to, where its config.json names no other number
_OPSET = 20
_GRAPH = """
<ir_version: 10, opset_import: ["" : {opset}]>
static (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask)
    => (float[batch, {width}] sentence_embedding) {{
  {ids}
  rows = Gather (embeddings, ids)
  mask = Cast <to = 1> (attention_mask)
  {counts}
  {weights}
  last = Constant <value_ints = [-1]> ()
  second = Constant <value_ints = [1]> ()
  factors = Unsqueeze (weighted, last)
  products = Mul (rows, factors)
  sum = ReduceSum <keepdims = 0> (products, second)
  tokens = ReduceSum <keepdims = 1> (counts, second)
  one = Constant <value_float = 1.0> ()
  number = Max (tokens, one)
  {mean}
}}
"""
_MEAN = "sentence_embedding = Div (sum, number)"
_UNIT = """mean = Div (sum, number)
  length = ReduceL2 <keepdims = 1> (mean, last)
  least = Constant <value_float = 1e-12> ()
  norm = Max (length, least)
  sentence_embedding = Div (mean, norm)"""


@dataclass(frozen=True, eq=False)
class StaticModel:
    """What such a folder holds.

    Attributes:
        vectors: float32 [R, d].
        tokenizer: its tokenizer.json.
        normalize: vectors of texts have unit length.
        max_length: tokens that a text is cut to; None for no limit.
        mapping: int64 [V], the row of each token; None where token and row are one.
        weights: float [V], what each token's row is multiplied by; None for ones.
        skips_unknown: the unknown token does not count.
        notes: what a user should know.
    """

    vectors: NDArray[np.floating]
    tokenizer: Path
    normalize: bool
    max_length: int | None
    mapping: NDArray[np.int64] | None = None
    weights: NDArray[np.floating] | None = None
    skips_unknown: bool = False
    notes: tuple[str, ...] = ()


def read_static(folder: Path) -> StaticModel | None:
    """Read a folder of static embeddings; None of any other folder.

    Raises:
        InputError: one whose table or tokenizer is not there.
    """
    config = read_json(folder / CONFIG)
    settings = Settings(folder)
    modules = [each for each in settings.read_list(MODULES) if isinstance(each, dict)]
    kinds = {str(each.get("type")).rsplit(".", 1)[-1]: str(each.get("path")) for each in modules}
    if config.get("model_type") == _TYPE:
        place, own = folder, True
    elif _MODULE in kinds:
        place, own = folder / kinds[_MODULE], False
        if is_no_part(kinds[_MODULE]):
            raise InputError(
                f"{folder / MODULES} leads out of its folder; download the model again"
            )
    else:
        return None
    tensors = _tensors(place)
    found = next((tensors[name] for name in _NAMES if name in tensors), None)
    if found is None or found.ndim != 2:
        raise InputError(
            f"{place} holds no table of vectors ({' or '.join(_NAMES)}); download the model again"
        )
    tokenizer = next((f for f in (place / TOKENIZER, folder / TOKENIZER) if f.is_file()), None)
    if tokenizer is None:
        raise InputError(f"{place} holds no {TOKENIZER}; download the model again")
    left_out = [kind for kind in kinds if kind not in (_MODULE, _NORMALIZE)]
    notes = [f"{MODULES} asks for {kind}, which the graph does not hold" for kind in left_out]
    mapping = tensors.get("mapping")
    limit = config.get("max_length", _LENGTH) if own else None
    return StaticModel(
        vectors=np.asarray(found, np.float32),
        tokenizer=tokenizer,
        normalize=bool(config.get("normalize")) if own else _NORMALIZE in kinds,
        max_length=limit if isinstance(limit, int) and limit > 0 else None,
        mapping=None if mapping is None else mapping.astype(np.int64),
        weights=tensors.get("weights"),
        skips_unknown=own,
        notes=tuple(notes),
    )


def write_static(model: StaticModel, out: Path) -> tuple[Path, Path, Facts]:
    """The model's graph, a folder with its tokenizer, and facts, all written below ``out``.

    Texts are split without the tokens that frame them, as both libraries do it.

    Raises:
        InputError: a damaged tokenizer.json.
    """
    out.mkdir(parents=True)
    tokens = read_json(model.tokenizer)
    tokens |= {"post_processor": None, "padding": None, "truncation": None}
    text = json.dumps(tokens, ensure_ascii=False)
    (out / TOKENIZER).write_text(text, encoding="utf-8")
    unknown = _unknown(tokens) if model.skips_unknown else None
    graph = onnx.parser.parse_model(_text(model, unknown))
    constants: dict[str, NDArray[Any]] = {"embeddings": model.vectors}
    if model.mapping is not None:
        constants["mapping"] = model.mapping
    if model.weights is not None:
        constants["weights"] = np.asarray(model.weights, np.float32)
    for name, values in constants.items():
        graph.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = out / "model.onnx"
    ir.save(ir.from_proto(graph), path, external_data="model.onnx.data")
    folder = model.tokenizer.parent
    texts = licence_files(folder)
    for name in texts:
        shutil.copyfile(folder / name, out / name)
    facts = Facts("feature-extraction", None, None, model.max_length, (TOKENIZER, *texts))
    return path, out, replace(facts, notes=model.notes, licence=licence_name(folder))


def _text(model: StaticModel, unknown: int | None) -> str:
    """The graph, without its constants."""
    counts = "counts = Identity (mask)"
    if unknown is not None:
        counts = f"""unknown = Constant <value_int = {unknown}> ()
  is_unknown = Equal (input_ids, unknown)
  is_known = Not (is_unknown)
  known = Cast <to = 1> (is_known)
  counts = Mul (mask, known)"""
    weights = "weighted = Identity (counts)"
    if model.weights is not None:
        weights = "weight = Gather (weights, input_ids)\n  weighted = Mul (counts, weight)"
    mapped = "Identity (input_ids)" if model.mapping is None else "Gather (mapping, input_ids)"
    return _GRAPH.format(
        opset=_OPSET,
        width=model.vectors.shape[1],
        ids=f"ids = {mapped}",
        counts=counts,
        weights=weights,
        mean=_UNIT if model.normalize else _MEAN,
    )


def _unknown(tokens: dict[str, Any]) -> int | None:
    """The id of a tokenizer's unknown token."""
    model = tokens.get("model")
    if not isinstance(model, dict):
        raise InputError(f"{TOKENIZER} holds no model; download the model again")
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    vocabulary = model.get("vocab")
    word = model.get("unk_token")
    found = vocabulary.get(word) if isinstance(vocabulary, dict) and word is not None else None
    return found if isinstance(found, int) else None


def _tensors(place: Path) -> dict[str, NDArray[Any]]:
    """All that a folder's weights hold."""
    if not any((place / name).is_file() for name in WEIGHTS):
        raise InputError(f"{place} holds no {WEIGHTS[0]}; download the model again")
    return read_tensors(place)
