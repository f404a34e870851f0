"""Decoders with a cache: fewer nodes, the same values at every step, for every batch."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters.passes.fuse_attention import Fusible, find_fusible, fusions
from exporters.sources.facts import read_facts
from exporters.sources.to_onnx import export_onnx

LAYERS = 2
FAMILIES = [
    "LlamaForCausalLM",  # two heads for four
    "Gemma3ForCausalLM",  # one head, norms of heads, a window
    "Qwen2ForCausalLM",  # biases
    "GPT2LMHeadModel",  # as many keys as queries, no rotation
    "Phi3ForCausalLM",  # queries, keys and values in one product
    "GPTNeoXForCausalLM",  # a part of each head is rotated
]
ROTARY = {"GPT2LMHeadModel": 0}
NORMS = {
    "LlamaForCausalLM": 5,
    "Gemma3ForCausalLM": 13,
    "Qwen2ForCausalLM": 5,
    "Phi3ForCausalLM": 5,
}


@pytest.fixture(scope="module")
def with_cache(tiny_folder, tmp_path_factory):
    """``with_cache(architecture)``: the path of its float graph."""
    made = {}

    def path(architecture):
        if architecture not in made:
            folder, work = tiny_folder(architecture), tmp_path_factory.mktemp(architecture)
            made[architecture], _ = export_onnx(
                folder, read_facts(folder), work, "dynamo", with_past=True
            )
        return made[architecture]

    return path


def joined(path, folder):
    model = ir.load(path)
    for each in fusions(Fusible(attentions=1, grouped=True)):
        each(model)
    ir.save(model, folder / "joined.onnx", external_data="joined.onnx.data")
    return folder / "joined.onnx"


def session_of(path, optimized=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_steps(session, ids, padding, steps):
    """Logits float [n, length, V] of ids [n, length] that begin with ``padding`` [n] pads."""
    inputs, outputs = session.get_inputs(), [value.name for value in session.get_outputs()]
    past = {
        value.name: np.zeros((len(ids), value.shape[1], 0, value.shape[3]), np.float32)
        for value in inputs
        if value.name.startswith("past")
    }
    mask = (np.arange(ids.shape[1]) >= padding[:, None]).astype(np.int64)
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    given, start = [], 0
    for stop in steps:
        feeds = {
            "input_ids": ids[:, start:stop],
            "attention_mask": mask[:, :stop],
            "position_ids": positions[:, start:stop],
        }
        found = dict(zip(outputs, session.run(None, feeds | past), strict=True))
        given.append(found.pop("logits"))
        past = {name.replace("present", "past_key_values"): v for name, v in found.items()}
        start = stop
    return np.concatenate(given, axis=1), mask.astype(bool)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_gives_what_it_gave(with_cache, tmp_path, family):
    original = with_cache(family)
    assert find_fusible(original, grouped=True) == Fusible(LAYERS, grouped=True)
    path = joined(original, tmp_path)
    onnx.checker.check_model(str(path))
    before, after = session_of(original), session_of(path)
    ids = np.random.default_rng(0).integers(0, 300, (3, 14))
    for padding in (np.zeros(3, int), np.array([0, 5, 2])):
        for steps in ((14,), (7, *range(8, 15)), range(1, 15)):
            wanted, real = in_steps(before, ids, padding, steps)
            found, _ = in_steps(after, ids, padding, steps)
            assert np.abs(found - wanted)[real].max() < 2e-5 * np.abs(wanted).max()
    # Several tokens after a cache: of one text alone.
    wanted, _ = in_steps(before, ids[:1], np.array([4]), (5, 9, 14))
    found, real = in_steps(after, ids[:1], np.array([4]), (5, 9, 14))
    assert np.abs(found - wanted)[real].max() < 2e-5 * np.abs(wanted).max()
    # The test could tell: what is masked matters.
    full, _ = in_steps(after, ids, np.zeros(3, int), (14,))
    assert np.abs(found - full)[1, -1].max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_of_node_is_joined(with_cache, tmp_path, family):
    path = joined(with_cache(family), tmp_path)
    session_of(path, tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in ir.load(path).graph]
    assert kinds.count("GroupQueryAttention") == LAYERS
    assert {"MultiHeadAttention", "Softmax", "Neg"}.isdisjoint(kinds)
    assert kinds.count("RotaryEmbedding") == ROTARY.get(family, 2 * LAYERS)
    loaded = [node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph]
    norms = loaded.count("SimplifiedLayerNormalization")
    assert norms + loaded.count("SkipSimplifiedLayerNormalization") == NORMS.get(family, 0)


def test_without_groups_attention_reads_repeated_heads(with_cache):
    model = ir.load(with_cache("LlamaForCausalLM"))
    for each in fusions(Fusible(attentions=LAYERS)):
        each(model)
    kinds = [node.op_type for node in model.graph]
    assert (kinds.count("MultiHeadAttention"), kinds.count("GroupQueryAttention")) == (LAYERS, 0)
