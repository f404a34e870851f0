"""Families of models, exported for real by each exporter in each form: docs/coverage.md's figures.

One case is one tiny model of random weights: its ONNX file computes what torch does, the bundle
what the file does with its table replaced, and onnxruntime's optimised graph stays packed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers

from exporters import export
from exporters.sources.to_onnx import has_optimum
from toolkit import Budget
from toolkit.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
ROWS = 1000
MODEL, MASKED, DECODER = "encoder", "masked LM", "decoder"
CACHE, BOTH = "decoder with cache", "encoder-decoder"
WORDS, RANKS, CHOICES, VECTOR = "labels of words", "reranker", "multiple choice", "text vector"
ENCODER_FILE, DECODER_FILE, CACHE_FILE, MERGED_FILE = FILES = (
    "encoder_model.onnx",
    "decoder_model.onnx",
    "decoder_with_past_model.onnx",
    "decoder_model_merged.onnx",
)

SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DISTIL = {"vocab_size": ROWS, "dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 48}
DEBERTA = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
}
DEBERTA_V2 = DEBERTA | {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
MODERN = {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 8}
GPT2 = {"vocab_size": ROWS, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
GROUPED = {"num_key_value_heads": 2}
GEMMA = GROUPED | {"head_dim": 8, "num_hidden_layers": 2, "sliding_window": 8}
T5 = {"vocab_size": ROWS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
BART = {
    **{"vocab_size": ROWS, "d_model": 32, "max_position_embeddings": 64},
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
}
TIED = {"tie_word_embeddings": True}

# Family -> its classes by form, and what its config has beyond or instead of the defaults.
ENCODERS = {
    "BERT": ("Bert", SIZES),
    "RoBERTa": ("Roberta", SIZES),
    "XLM-R": ("XLMRoberta", SIZES),
    "DistilBERT": ("DistilBert", DISTIL),
    "ALBERT": ("Albert", SIZES | {"embedding_size": 16}),
    "ELECTRA": ("Electra", SIZES | {"embedding_size": 24}),
    "DeBERTa": ("Deberta", SIZES | DEBERTA),
    "DeBERTa-v2/v3": ("DebertaV2", SIZES | DEBERTA_V2),
    "MPNet": ("MPNet", SIZES),
    "ModernBERT": ("ModernBert", SIZES | SPECIAL | MODERN),
}
DECODERS = {
    "GPT-2": ("GPT2LMHeadModel", GPT2),
    "Llama": ("LlamaForCausalLM", SIZES | GROUPED),
    "Qwen2": ("Qwen2ForCausalLM", SIZES | GROUPED | TIED),
    "Qwen3": ("Qwen3ForCausalLM", SIZES | GROUPED | TIED | {"head_dim": 8}),
    "Gemma 2": ("Gemma2ForCausalLM", SIZES | GEMMA),
    "Gemma 3 (text)": ("Gemma3ForCausalLM", SIZES | GEMMA),
    "Phi": ("PhiForCausalLM", SIZES),
}
ENCODER_DECODERS = {
    "T5": ("T5ForConditionalGeneration", T5),
    "BART": ("BartForConditionalGeneration", BART),
    "Marian": ("MarianMTModel", BART | {"decoder_vocab_size": ROWS}),
}
# What a classifier's class ends in, by form; the families that are tried.
CLASSIFIERS = {
    WORDS: ("ForTokenClassification", {"num_labels": 5}),
    RANKS: ("ForSequenceClassification", {"num_labels": 1}),
    CHOICES: ("ForMultipleChoice", {}),
}
CLASSIFIED = ("BERT", "XLM-R", "DistilBERT", "DeBERTa-v2/v3", "ModernBERT")
TOWER = SIZES | SPECIAL | {"projection_dim": 24, "projection_size": 24}
TOWERS = {
    "CLIP (text)": ("CLIPTextModelWithProjection", "text_embeds"),
    "SigLIP (text)": ("SiglipTextModel", "pooler_output"),
    "SigLIP 2 (text)": ("Siglip2TextModel", "pooler_output"),
}
XLNET = {"vocab_size": ROWS, "d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 48}


@dataclass(frozen=True)
class Case:
    """A family of models, in a form, through an exporter ("files": optimum's own files)."""

    family: str
    form: str
    exporter: str
    architecture: str
    config: dict
    unsupported: str | None = None

    @property
    def name(self):
        return re.sub(r"\W+", "-", f"{self.family} {self.form} {self.exporter}").lower()


def cases():
    for exporter in ("dynamo", "optimum"):
        for family, (prefix, config) in ENCODERS.items():
            yield Case(family, MODEL, exporter, f"{prefix}Model", config)
            yield Case(family, MASKED, exporter, f"{prefix}ForMaskedLM", config)
        for family, (architecture, config) in DECODERS.items():
            yield Case(family, DECODER, exporter, architecture, config | SPECIAL)
        for family, (architecture, config) in ENCODER_DECODERS.items():
            yield Case(family, BOTH, exporter, architecture, seq2seq(config))
    for family, (architecture, config) in DECODERS.items():
        yield Case(family, CACHE, "optimum", architecture, config | SPECIAL)
    for family, (architecture, config) in ENCODER_DECODERS.items():
        for file in FILES:
            yield Case(family, file, "none", architecture, seq2seq(config))
    reason = "torch.onnx.export finds no aten.sub for its attention mask"
    yield Case("XLNet", MODEL, "dynamo", "XLNetModel", XLNET, reason)
    reason = "optimum has no export configuration for it"
    yield Case("XLNet", MODEL, "optimum", "XLNetModel", XLNET, reason)

    for exporter in ("dynamo", "optimum"):
        for form, (ending, more) in CLASSIFIERS.items():
            for family in CLASSIFIED:
                prefix, config = ENCODERS[family]
                lacks = (family, form, exporter) == ("ModernBERT", CHOICES, "optimum")
                reason = "optimum exports no multiple choice of it" if lacks else None
                yield Case(family, form, exporter, f"{prefix}{ending}", config | more, reason)
    for family, (architecture, _) in TOWERS.items():
        yield Case(family, VECTOR, "dynamo", architecture, TOWER)


def seq2seq(config):
    return config | SPECIAL | {"decoder_start_token_id": 0}


CASES = list(cases())
QUICK = {"bert-encoder-dynamo", "t5-encoder-decoder-dynamo", "llama-decoder-with-cache-optimum"}


def parameters():
    for case in CASES:
        marks = [] if case.name in QUICK else [pytest.mark.slow]
        if case.exporter != "dynamo":
            marks.append(pytest.mark.skipif(not has_optimum(), reason="needs optimum"))
        if case.unsupported:
            marks.append(pytest.mark.xfail(reason=case.unsupported, strict=True, raises=InputError))
        yield pytest.param(case, id=case.name, marks=marks)


@pytest.fixture(scope="module")
def optimums_files(tmp_path_factory):
    """An encoder-decoder as optimum writes it: encoder and decoders in files of their own."""
    made = {}

    def export_once(architecture, folder):
        from optimum.exporters.onnx import main_export

        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp("files")
            main_export(
                str(folder),
                made[architecture],
                task="text2text-generation-with-past",
                local_files_only=True,
                do_validation=False,
            )
        return made[architecture]

    return export_once


@pytest.mark.filterwarnings("ignore")  # exporters' own
@pytest.mark.parametrize("case", list(parameters()))
def test_a_family_exports(case, optimums_files, quick, tmp_path, record_property):
    for name in ("family", "form", "exporter", "unsupported"):
        record_property(name, getattr(case, name))
    model = random_model(case)
    source = folder = tmp_path / case.name
    model.save_pretrained(folder)
    if case.form in FILES:
        source = optimums_files(case.architecture, folder) / case.form
    manifest = export(
        str(source),
        tmp_path / "bundle",
        Budget(ratio=8),
        options=quick(
            exporter="auto" if case.exporter == "none" else case.exporter,
            with_past=case.form == CACHE,
        ),
        keep_original=tmp_path,
    )
    packed = tmp_path / "bundle" / "model.onnx"
    original = tmp_path / "original" / "model.onnx" if source is folder else source

    from_torch = torch_difference(original, model, case.form)
    assert from_torch < 1e-4
    assert manifest.exporter == case.exporter
    if case.form == VECTOR:
        (output,) = open_session(original).get_outputs()
        assert output.name == TOWERS[case.family][1]
    assert (manifest.rows, manifest.ids_input) == (ROWS, "input_ids")
    assert not manifest.tied_head
    dense, left = (optimized_nbytes(path, tmp_path) for path in (original, packed))
    saved = manifest.footprint.dense_bytes - manifest.footprint.embedding_bytes
    assert dense - left > 0.6 * saved
    figures = {
        "torch": from_torch,
        "rewrite": manifest.parity.rewrite,
        "table": manifest.footprint.ratio,
        "head": head(manifest, packed, case.form),
        "dense": dense,
        "left": left,
    }
    for name, figure in figures.items():
        record_property(name, figure)


def random_model(case):
    kind = getattr(transformers, case.architecture)
    torch.manual_seed(0)
    return kind(kind.config_class(**case.config)).eval()


def torch_difference(path, model, form):
    """Of the file's main output from torch's, largest over real tokens, relative to its scale."""
    session = open_session(path)
    inputs = {entry.name: entry for entry in session.get_inputs()}
    rng = np.random.default_rng(0)
    ids = rng.integers(5, ROWS, (3, 17))
    mask = (np.arange(17) < np.array([[17], [9], [4]])).astype(np.int64)
    texts = {
        "input_ids": np.where(mask, ids, 1),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.tile(np.arange(17), (3, 1)),
        "decoder_input_ids": rng.integers(5, ROWS, (3, 6)),
    }
    if form == CACHE:
        return cache_difference(session, model, ids)
    if form in FILES:
        return file_difference(session, model, texts, form)
    feeds = {name: texts[name] for name in inputs}
    if form == CHOICES:
        feeds = {name: np.stack([v, v[::-1]], axis=1)[:2] for name, v in feeds.items()}
    output = {MODEL: "last_hidden_state", VECTOR: session.get_outputs()[0].name}.get(form, "logits")
    (got,) = session.run([output], feeds)
    with torch.no_grad():
        wanted = model(**tensors(feeds), return_dict=True)[output].numpy()
    of_tokens = form != BOTH and got.ndim == 3
    real = mask.astype(bool) if of_tokens else ...  # what is made of padding is nobody's affair
    return difference(got[real], wanted[real])


def cache_difference(session, model, ids):
    """All tokens but three through an empty cache, then three with what that gave."""
    outputs = [entry.name for entry in session.get_outputs()]
    past = {
        entry.name: np.zeros((len(ids), entry.shape[1], 0, entry.shape[3]), np.float32)
        for entry in session.get_inputs()
        if entry.name.startswith("past_key_values")
    }
    logits, start = [], 0
    for part in (ids[:, :-3], ids[:, -3:]):
        seen = start + part.shape[1]
        feeds = {
            "input_ids": part,
            "attention_mask": np.ones((len(ids), seen), np.int64),
            "position_ids": np.tile(np.arange(start, seen), (len(ids), 1)),
        } | past
        wanted = {entry.name for entry in session.get_inputs()}
        got = session.run(None, {name: feeds[name] for name in wanted})
        named = dict(zip(outputs, got, strict=True))
        logits.append(named["logits"])
        past = {name: named[name.replace("past_key_values", "present")] for name in past}
        start = seen
    with torch.no_grad():
        whole = model(input_ids=torch.from_numpy(ids), use_cache=False).logits.numpy()
    return difference(np.concatenate(logits, axis=1), whole)


def file_difference(session, model, texts, form):
    """Of one of optimum's files; the decoders get torch's states of the encoder."""
    encoder_feeds = {name: texts[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        states = model.get_encoder()(**tensors(encoder_feeds)).last_hidden_state
        if form == ENCODER_FILE:
            (got,) = session.run(["last_hidden_state"], encoder_feeds)
            real = texts["attention_mask"].astype(bool)
            return difference(got[real], states.numpy()[real])
        ids = texts["decoder_input_ids"]
        whole = model(**tensors(encoder_feeds), decoder_input_ids=torch.from_numpy(ids))
        before = model(
            **tensors(encoder_feeds),
            decoder_input_ids=torch.from_numpy(ids[:, :-1]),
            use_cache=True,
        ).past_key_values
    feeds = {
        "encoder_attention_mask": texts["attention_mask"],
        "encoder_hidden_states": states.numpy(),
        "use_cache_branch": np.array([True]),
        "input_ids": ids if form == DECODER_FILE else ids[:, -1:],
    }
    caches = {"decoder": before.self_attention_cache, "encoder": before.cross_attention_cache}
    for part, cache in caches.items():
        for number, layer in enumerate(cache.layers):
            feeds[f"past_key_values.{number}.{part}.key"] = layer.keys.numpy()
            feeds[f"past_key_values.{number}.{part}.value"] = layer.values.numpy()
    wanted = [entry.name for entry in session.get_inputs()]
    (got,) = session.run(["logits"], {name: feeds[name] for name in wanted})
    return difference(got, whole.logits.numpy()[:, -got.shape[1] :])


def tensors(feeds):
    return {name: torch.from_numpy(array) for name, array in feeds.items()}


def difference(got, wanted):
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max()))


def open_session(path, optimized=None):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def optimized_nbytes(path, folder):
    """Bytes of all weights in the graph that onnxruntime makes of a file when it loads it."""
    optimized = folder / "optimized.onnx"
    open_session(path, optimized)
    graphs = [ir.load(optimized).graph]
    nbytes = 0
    for graph in graphs:  # grows: branches may hold weights too
        held = (value.const_value for value in graph.initializers.values())
        nbytes += sum(tensor.nbytes for tensor in held if tensor is not None)
        attributes = (a for node in graph for a in node.attributes.values())
        graphs += [a.as_graph() for a in attributes if a.type == ir.AttributeType.GRAPH]
    return nbytes


def head(manifest, path, form):
    """What the output head over the vocabulary reads: the packed table, a matrix of its own, packed
    or not; none without such logits."""
    if manifest.packed_heads:
        return "packed"
    if manifest.heads:
        return "own, packed"
    outputs = {entry.name for entry in open_session(path).get_outputs()}
    return "own" if "logits" in outputs and form not in CLASSIFIERS else "none"


def test_the_page_lists_exactly_these_cases():
    families = PAGE.read_text(encoding="utf-8").split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", families, re.MULTILINE)
    listed = [row for row in rows if row[0] != "family"]
    known = [(case.family, case.form, case.exporter) for case in CASES]
    assert sorted(listed) == sorted(known), "run `make coverage`"
