"""Greedy tokens of a decoder's bundle are the same in every runtime that people use.

onnxruntime-genai lies in build/loads/genai, where `make test-loads` puts it: it needs an
environment of its own, as it brings another onnxruntime. Its builder lies in
build/loads/genai-builder.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from exporters import ExportOptions, export
from runtime import native
from runtime.custom_op.build import TARGETS, BuildError, build, find_headers
from toolkit import Budget, LightTokenConfig

ROOT = Path(__file__).parents[3]
GENAI = ROOT / "build" / "loads" / "genai" / "bin" / "python"
BUILDER = ROOT / "build" / "loads" / "genai-builder"
PROMPT = "The lighthouse keeper"
TOKENS = 24
SIZES = {
    "vocab_size": 500,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
# Windows are shorter than the text, so that what is cut out of them counts.
GEMMA = {"head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16}
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
ARCHITECTURES = {
    "LlamaForCausalLM": SIZES,
    "Gemma3ForCausalLM": SIZES | GEMMA | {"layer_types": LAYERS},
}

needs_genai = pytest.mark.skipif(
    not GENAI.is_file(), reason="needs onnxruntime-genai: make test-loads"
)
needs_builder = pytest.mark.skipif(
    not BUILDER.is_dir(), reason="needs onnxruntime-genai's builder: make test-loads"
)
# What the builder is asked for -> whether the output head reads the packed table afterwards.
BUILT = {
    "fp32": (("-p", "fp32"), True),
    "int4": (("-p", "int4"), False),
    "int4 shared": (
        ("-p", "int4", "--extra_options", "int4_algo_config=k_quant_mixed shared_embeddings=true"),
        True,
    ),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def decoder(request, tmp_path_factory):
    """A bundle with a cache and its prompt's ids; of random models one that writes many tokens."""
    folder = tmp_path_factory.mktemp("decoder") / "model"
    save_tokenizer(folder)
    kind = getattr(transformers, request.param)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(PROMPT).ids
    assert ids[0] == 2
    made = SimpleNamespace(folder=folder, bundle=folder.with_name("bundle"), ids=ids)
    options = ExportOptions(with_past=True, config=LightTokenConfig(rounds=1))
    for seed in range(9):
        torch.manual_seed(seed)
        model = kind(kind.config_class(**ARCHITECTURES[request.param])).eval()
        with torch.no_grad():  # weights as small as they are drawn write one token over and over
            for name, weight in model.named_parameters():
                weight.mul_(6 if weight.ndim > 1 and "embed" not in name else 1)
        model.save_pretrained(folder)
        export(str(folder), made.bundle, Budget(ratio=5), options=options, force=True)
        if len(set(by_reading_again(made, made.bundle))) > 4:
            return made
    raise AssertionError("a text of few tokens says little, and no seed gave another")


def save_tokenizer(folder):
    """Bytes and what follows each other often in this file; texts begin with <bos>."""
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [Path(__file__).read_text(encoding="utf-8")],
        trainers.BpeTrainer(
            vocab_size=SIZES["vocab_size"],
            special_tokens=["<pad>", "<eos>", "<bos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    described = roles | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128}
    described["model_input_names"] = ["input_ids", "attention_mask"]  # decoders have no types
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


@pytest.fixture(scope="session")
def kernel(tmp_path_factory):
    """The kernel's library, built where it is not there yet."""
    found = native.find()
    if found.usable:
        return found.path
    path = tmp_path_factory.mktemp("op") / TARGETS["host"].library
    try:
        return build(TARGETS["host"], find_headers(None), path)
    except BuildError as error:
        pytest.skip(f"the kernel cannot be built here: {error}")


@pytest.fixture
def same_text(kernel, monkeypatch):
    """``same_text(bundle)``: what benchmarks/same_text.py tells of it, and its exit code."""
    monkeypatch.setenv(native.VARIABLE, str(kernel))

    def run(bundle):
        script = [ROOT / "benchmarks" / "same_text.py", bundle, PROMPT, "--json"]
        genai = ["--genai-python", GENAI] if GENAI.is_file() else []
        command = [sys.executable, *script, "--max-tokens", TOKENS, *genai]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=300
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.returncode

    return run


def by_reading_again(decoder, bundle):
    """Greedy tokens of the graph without its cache: the whole text is read for each."""
    from runtime import open_session
    from toolkit.bundle.feeds import build_feeds

    session, ids = open_session(bundle, op=False), list(decoder.ids)
    while len(ids) < len(decoder.ids) + TOKENS and ids[-1] != 1:
        feeds = build_feeds(session.inputs, "input_ids", np.array([ids]))
        ids.append(int(session.run(feeds, ["logits"])["logits"][0, -1].argmax()))
    return [id_ for id_ in ids[len(decoder.ids) :] if id_ != 1]


def test_every_runtime_writes_the_same(decoder, same_text):
    told, code = same_text(decoder.bundle)
    wanted = by_reading_again(decoder, decoder.bundle)
    ran = {name: ids for name, ids in told["ids"].items() if ids != wanted}
    assert ran == {}
    assert told["failed"] == {}
    assert code == 0
    own = {"lighttoken, kernel", "lighttoken, function", "onnxruntime"}
    others = {"optimum"} | ({f"onnxruntime-genai, {how}" for how in ("kernel", "function")})
    assert own <= set(told["ids"])
    assert set(told["ids"]) | set(told["missing"]) == own | others
    if GENAI.is_file():
        assert {name for name in others if "genai" in name} <= set(told["ids"])


@needs_genai
def test_genai_reads_a_prompt_as_the_tokenizer_does(decoder):
    told = write(decoder.bundle, ids=decoder.ids, prompt=PROMPT)
    assert told["prompt_ids"] == decoder.ids


@needs_genai
def test_genai_takes_the_kernel_from_the_bundles_folder_alone(decoder, kernel):
    """The library is really asked for: one that lies elsewhere is refused."""
    with pytest.raises(RuntimeError, match="custom_ops_library"):
        write(decoder.bundle, ids=decoder.ids, library=str(kernel))


@needs_genai
def test_the_cards_program_runs_in_genai(decoder, card_programs):
    (program,) = [text for text in card_programs(decoder.bundle, "python") if "genai" in text]
    told = subprocess.run(
        [GENAI, "-c", program + "\nprint(repr(text))"],
        cwd=decoder.bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Once upon a time" in told.stdout


def programs_of_the_page(word):
    page = (ROOT / "docs" / "decoders.md").read_text(encoding="utf-8")
    return [text for text in re.findall(r"^```text\n(.*?)^```", page, re.M | re.S) if word in text]


@pytest.mark.parametrize("word", ["import ORTModelForCausalLM", "import onnxruntime_genai"])
def test_the_pages_programs_run(decoder, word):
    (program,) = programs_of_the_page(word)
    python = GENAI if "genai" in word else sys.executable
    if not Path(python).is_file():
        pytest.skip("needs onnxruntime-genai: make test-loads")
    done = subprocess.run(
        [python, "-c", program.replace('"gemma"', repr(str(decoder.bundle)))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert PROMPT in done.stdout


@needs_builder
@pytest.mark.parametrize("form", BUILT)
def test_what_its_builder_built_is_packed_and_writes_the_same(decoder, same_text, tmp_path, form):
    arguments, shared = BUILT[form]
    options = [word for argument in arguments for word in argument.split()]
    call = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-e", "cpu", *options]
    call += ["-i", decoder.folder, "-o", tmp_path / "built", "-c", tmp_path / "cache"]
    environment = os.environ | {"PYTHONPATH": str(BUILDER)}
    subprocess.run(list(map(str, call)), check=True, capture_output=True, env=environment)
    bundle = tmp_path / "bundle"
    options = ExportOptions(config=LightTokenConfig(rounds=1))
    manifest = export(str(tmp_path / "built"), bundle, Budget(ratio=5), options=options)
    assert (manifest.packed_heads, manifest.exporter) == (int(shared), "none")
    kept = [node.op_type for node in ir.load(bundle / manifest.model).graph]
    assert kept.count("GroupQueryAttention") == SIZES["num_hidden_layers"]
    told, code = same_text(bundle)
    assert (told["equal"], told["failed"], code) == (True, {}, 0)
    assert "optimum" in told["missing"]  # there is no config.json
    if GENAI.is_file():
        assert {"onnxruntime-genai, kernel", "onnxruntime-genai, function"} <= set(told["ids"])


@needs_builder
def test_the_builder_is_an_exporter(decoder, same_text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BUILDER))
    monkeypatch.setenv("PYTHONPATH", f"{BUILDER}{os.pathsep}{ROOT}")
    settings = {"exporter": "genai", "with_past": True, "config": LightTokenConfig(rounds=1)}
    bundle = tmp_path / "bundle"
    options = ExportOptions(**settings)
    manifest = export(str(decoder.folder), bundle, Budget(ratio=5), options=options)
    assert (manifest.exporter, manifest.packed_heads) == ("genai", 1)
    told, code = same_text(bundle)
    assert (told["equal"], told["failed"], code) == (True, {}, 0)
    assert "optimum" in told["ids"]


def write(bundle, **job):
    job = {"folder": str(bundle), "tokens": TOKENS, "threads": 1} | job
    done = subprocess.run(
        [GENAI, ROOT / "benchmarks" / "genai_text.py", json.dumps(job)],
        cwd=bundle,  # a library in the current folder would be taken too
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
