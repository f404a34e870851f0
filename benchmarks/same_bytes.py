"""Are bundles the same, byte for byte, at two commits? For changes that must not change outputs.

    python benchmarks/same_bytes.py OLD NEW [--model FOLDER] [--work DIR]

Exports the same models with the code of both commits, each checked out beside this one, in this
Python environment and on one thread, and compares the bundles file by file. Left out first: in
``model.onnx`` nodes and constants of functions that nothing reads, and the types of their values;
in ``lighttoken.json`` versions, measured parity, and what follows from the bytes of ``model.onnx``.
Exit code 1 where anything else differs.

``--model FOLDER`` adds a real sentence encoder, all-MiniLM-L6-v2 say, at 25x with weights in fp32,
int8 and int4. The tiny models have random weights and are made by transformers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import onnx

ROOT = Path(__file__).parents[1]
SIZES = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"vocab_size": 1000, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
BART = {
    **{"vocab_size": 1000, "d_model": 32, "max_position_embeddings": 64},
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
}
GPT2 = {"vocab_size": 1000, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64} | SPECIAL
GEMMA = SIZES | SPECIAL | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}

# Model -> its class and config; then what is exported of which.
MODELS = {
    "bert": ("BertModel", SIZES),
    "bert-mlm": ("BertForMaskedLM", SIZES),
    "distilbert": (
        "DistilBertModel",
        {"vocab_size": 1000, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "albert": ("AlbertModel", SIZES | {"embedding_size": 16}),
    "electra": ("ElectraModel", SIZES | {"embedding_size": 24}),
    "mpnet": ("MPNetModel", SIZES),
    "xlm-r": ("XLMRobertaModel", SIZES),
    "modernbert": ("ModernBertForMaskedLM", SIZES | SPECIAL | {"local_attention": 8}),
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "llama": ("LlamaForCausalLM", SIZES | SPECIAL | {"num_key_value_heads": 2}),
    "gemma3": ("Gemma3ForCausalLM", GEMMA),
    "t5": (
        "T5ForConditionalGeneration",
        T5 | {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
    ),
    "bart": ("BartForConditionalGeneration", BART),
}
EXPORTS: tuple[tuple[str, str], ...] = (
    *((name, "--ratio 8") for name in MODELS),
    ("bert", "--ratio 8 --body int8"),
    ("bert", "--ratio 8 --body int4 --body-block 16"),
    ("bert", "--ratio 8 --target webgpu --body fp16"),
    ("bert", "--ratio 8 --decode inline"),
    ("bert", "--ratio 8 --target webgpu"),
    ("bert", "--ratio 8 --target coreml --batch 1 --sequence 16"),
    ("bert", "--ratio 8 --target qnn --batch 1 --sequence 16"),
    ("bert", "--ratio 8 --all-tables"),
    ("bert", "--ratio 4 --method svd"),
    ("gpt2", "--ratio 8 --head nbits --body int4 --body-block 16"),
    ("gpt2", "--ratio 8 --head dense"),
    ("gpt2", "--ratio 8 --with-past --exporter optimum"),
    ("gemma3", "--ratio 8 --body int4 --body-block 16"),
    ("bert-mlm", "--ratio 8 --exporter optimum --no-fuse"),
)
REAL: tuple[str, ...] = ("--ratio 25", "--ratio 25 --body int8", "--ratio 25 --body int4")

# Runs in the other checkout: many exports in one process, each as the command line does it.
RUNNER = """
import json, sys
from toolkit.cli.app import run
for words in json.load(sys.stdin):
    if code := run(words):
        print(f"exit code {code}: {' '.join(words)}", file=sys.stderr)
"""


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "same_bytes")
@click.option("--only", help="Exports whose name holds this alone.")
def main(old: str, new: str, model: Path | None, work: Path, only: str | None) -> None:
    """Compare the bundles that commits OLD and NEW write."""
    work = work.resolve()
    make_models(work / "models")
    jobs = list_jobs(work / "models", model, only)
    sides = [make_bundles(revision, jobs, work) for revision in (old, new)]
    different = 0
    for name in jobs:
        found = differences(*(side / name for side in sides))
        different += bool(found)
        click.echo(f"{name:60} {'; '.join(found) or 'the same'}")
    click.echo(f"{len(jobs) - different} the same, {different} different")
    sys.exit(bool(different))


def make_models(folder: Path) -> None:
    """The tiny models, each saved once."""
    import torch
    import transformers

    for name, (architecture, config) in MODELS.items():
        if not (folder / name).is_dir():
            torch.manual_seed(0)
            kind = getattr(transformers, architecture)
            kind(kind.config_class(**config)).eval().save_pretrained(folder / name)


def list_jobs(models: Path, real: Path | None, only: str | None) -> dict[str, list[str]]:
    """The arguments of each export without its OUT, by a name for it."""
    jobs = {
        f"{name} {options}": ["export", str(models / name), *options.split()]
        for name, options in EXPORTS
    }
    if real is not None:
        for options in REAL:
            jobs[f"{real.name} {options}"] = ["export", str(real), *options.split()]
    return {name: job for name, job in jobs.items() if only is None or only in name}


def make_bundles(revision: str, jobs: dict[str, list[str]], work: Path) -> Path:
    """A folder of bundles, one a job, by the code of ``revision``; what is there already stays."""
    commit = _git("rev-parse", "--short", f"{revision}^{{commit}}")
    code, out = work / f"code-{commit}", work / f"bundles-{commit}"
    if not code.is_dir():
        _git("worktree", "add", "--detach", str(code), commit)
    out.mkdir(exist_ok=True)
    todo = [[*job, str(out / name)] for name, job in jobs.items() if not (out / name).is_dir()]
    todo = [[words[0], words[1], words[-1], *words[2:-1]] for words in todo]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(code),
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(todo),
        text=True,
        cwd=code,
        env=environment,
        check=True,
    )
    return out


def differences(old: Path, new: Path) -> list[str]:
    """What differs between two bundles, a word or two each."""
    if not old.is_dir() or not new.is_dir():
        return [
            "not exported by "
            + " and ".join(s for s, d in (("old", old), ("new", new)) if not d.is_dir())
        ]
    names = {file.relative_to(side).as_posix() for side in (old, new) for file in side.rglob("*")}
    found = []
    for name in sorted(names):
        a, b = old / name, new / name
        if a.is_dir() and b.is_dir():
            continue
        if not (a.is_file() and b.is_file()):
            found.append(f"{name} on one side")
        elif a.read_bytes() != b.read_bytes():
            reader = {".onnx": live_model, ".json": manifest_values}.get(a.suffix)
            if name.startswith("README"):
                continue  # the card's words are no figures; sizes in it follow from the files
            if reader is None or reader(a) != reader(b):
                found.append(name)
    return found


def live_model(path: Path) -> bytes:
    """The model without nodes of functions that nobody reads, nor their constants."""
    model = onnx.load(path, load_external_data=False)
    for function in model.functions:
        while True:
            read = {name for node in function.node for name in node.input} | set(function.output)
            kept = [node for node in function.node if read.intersection(node.output)]
            if len(kept) == len(function.node):
                break
            gone = {
                f"{function.domain}::{function.name}/{name}"
                for node in function.node
                if node not in kept
                for name in node.output
            }
            told = [value for value in model.graph.value_info if value.name not in gone]
            del model.graph.value_info[:]
            model.graph.value_info.extend(told)
            del function.node[:]
            function.node.extend(kept)
    return model.SerializeToString(deterministic=True)


def manifest_values(path: Path) -> object:
    """A JSON file's content, less what names versions, sizes or digests of ``model.onnx``."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if path.name != "lighttoken.json":
        return data
    for key in ("made_with", "parity", "files"):
        data.pop(key, None)
    data.get("footprint", {}).pop("model_bytes", None)
    return data


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
