"""Tiny bundles: ten tokens, four columns, one Gather."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.kernels import layer_models, library  # noqa: F401  # fixtures
from toolkit.bundle.manifest import (
    BUNDLE_VERSION,
    MANIFEST_NAME,
    Footprint,
    Manifest,
    Parity,
    Pooling,
    Source,
    describe_files,
    manifest_digest,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "sea", "sky"]
WIDTH = 4

GRAPHS = {
    # Every model reads its table by the token ids; 'mask' only has to be accepted.
    "feature-extraction": """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,4] last_hidden_state)
        { last_hidden_state = Gather(table, input_ids) }""",
    "fill-mask": """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,10] logits)
        { logits = Gather(table, input_ids) }""",
    "text-classification": """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,c] logits)
        {
          states = Gather(table, input_ids)
          mask = CastLike(attention_mask, states)
          last = Constant<value_ints = [-1]>()
          wide = Unsqueeze(mask, last)
          kept = Mul(states, wide)
          axis = Constant<value_ints = [1]>()
          logits = ReduceSum<keepdims = 0>(kept, axis)
        }""",
}


def write_model(path: Path, graph: str, table: np.ndarray, external: bool = False) -> Path:
    model = onnx.parser.parse_model(graph)
    model.graph.initializer.append(numpy_helper.from_array(table.astype(np.float32), "table"))
    onnx.checker.check_model(model)
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path


def write_tokenizer(folder: Path) -> None:
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.add_special_tokens(WORDS[:5])
    made.enable_padding(length=16, pad_id=9)  # the project must not take this over
    made.save(str(folder / "tokenizer.json"))
    roles = {"pad_token": "[PAD]", "mask_token": {"content": "[MASK]", "lstrip": False}}
    (folder / "special_tokens_map.json").write_text(json.dumps(roles))


def table(columns: int = WIDTH) -> np.ndarray:
    values = np.random.default_rng(3).normal(size=(len(WORDS), columns)).astype(np.float32)
    values[0] = 1e6  # padding that counts anywhere is seen at once
    return values


def write_bundle(
    folder: Path,
    task: str = "feature-extraction",
    values: np.ndarray | None = None,
    *,
    graph: str | None = None,
    config: dict[str, Any] | None = None,
    **facts: Any,
) -> Path:
    folder.mkdir()
    values = table() if values is None else values
    write_model(folder / "model.onnx", graph or GRAPHS[task], values, external=True)
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config or {}))
    manifest = Manifest(
        **{
            "source": Source("tiny", "folder", "0" * 64),
            "task": task,
            "exporter": "dynamo",
            "decode": "function",
            "opset": 18,
            "rows": len(WORDS),
            "width": values.shape[1],
            "table": "table",
            "ids_input": "input_ids",
            "tied_head": False,
            "method": "lighttoken",
            "seed": 0,
            "footprint": Footprint(25.0, 1.28, 64, 1600, 700, 2300, {"codes": 64}),
            "parity": Parity(0.0, 0.0, 0.1),
            "pooling": Pooling("mean", False),
            "max_length": 8,
            "files": describe_files(folder),
            **facts,
        }
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder


@pytest.fixture
def tiny() -> SimpleNamespace:
    """The builders above, for tests that are collected without a package."""
    return SimpleNamespace(
        bundle=write_bundle,
        model=write_model,
        tokenizer=write_tokenizer,
        table=table,
        graphs=GRAPHS,
        words=WORDS,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def rewrite_manifest() -> Callable[..., None]:
    def rewrite(folder: Path, **changes: Any) -> None:
        path = folder / MANIFEST_NAME
        data = json.loads(path.read_text()) | changes
        data.pop("digest", None)  # of a version that has one
        if data["version"] >= BUNDLE_VERSION:
            data["digest"] = manifest_digest(data)
        path.write_text(json.dumps(data))

    return rewrite
