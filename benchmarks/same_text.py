"""Whether every runtime writes the same text with a bundle: greedy tokens of each, side by side.

Example:
    python benchmarks/same_text.py gemma "The lighthouse keeper" --max-tokens 60 \
        --genai-python genai-env/bin/python

Runs a decoder's bundle (`lighttoken export FOLDER OUT --with-past`) in `lighttoken run`, in
onnxruntime alone, in optimum, and in onnxruntime-genai, with the kernel where a runtime can have
it and with the function in the file. A runtime that is not installed is named as such, and says
nothing of the others. onnxruntime-genai brings an onnxruntime of its own, so it is run by another
Python: `python -m venv genai-env && genai-env/bin/pip install onnxruntime-genai`.
The exit code is 1 where two texts differ, or a runtime that is installed cannot write.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import onnxruntime
from one_line import run
from tokenizers import Tokenizer

from runtime import native, open_pipeline
from toolkit.bundle.generation import end_ids
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import FormatError, InputError

_GENAI = Path(__file__).with_name("genai_text.py")
_PAST, _PRESENT = "past_key_values", "present"


class Missing(Exception):  # noqa: N818 (no error: the others are compared without it)
    """A runtime is not here; the text says what would bring it."""


@dataclass(frozen=True)
class Job:
    """What every runtime is to write.

    Attributes:
        folder: the bundle.
        prompt: the text before.
        ids: the same as the bundle's tokenizer has it, with the token that texts begin with.
        tokens: to write at most.
        threads: of one operator.
        genai_python: of an environment with onnxruntime-genai; None for this one.
    """

    folder: Path
    prompt: str
    ids: tuple[int, ...]
    tokens: int
    threads: int
    genai_python: Path | None


def with_lighttoken(job: Job, *, kernel: bool) -> list[int]:
    if kernel:
        _library()
    write = open_pipeline(job.folder, threads=job.threads, op=kernel)
    return list(write(job.prompt, max_tokens=job.tokens, chat=False).tokens)


def with_onnxruntime(job: Job) -> list[int]:
    """A loop of numpy arrays, which anyone may write."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = job.threads, 3
    model = job.folder / read_manifest(job.folder).model
    session = onnxruntime.InferenceSession(model, options)
    cache = {
        value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        for value in session.get_inputs()
        if value.name.startswith(_PAST)
    }
    inputs = {value.name for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    ends = end_ids(job.folder, error=FormatError)
    latest, written, read = list(job.ids), [], 0
    while len(written) < job.tokens:
        total = read + len(latest)
        feeds = {
            "input_ids": np.array([latest]),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(read, total)[None],
        }
        feeds = {name: value for name, value in feeds.items() if name in inputs} | cache
        found = dict(zip(outputs, session.run(None, feeds), strict=True))
        latest, read = [int(found["logits"][0, -1].argmax())], total
        cache = {
            name.replace(_PRESENT, _PAST): value
            for name, value in found.items()
            if name.startswith(_PRESENT)
        }
        if latest[0] in ends:
            break
        written += latest
    return written


def with_optimum(job: Job) -> list[int]:
    if find_spec("optimum") is None or find_spec("optimum.onnxruntime") is None:
        raise Missing("pip install 'lighttoken[optimum]'")
    if not (job.folder / "config.json").is_file():
        raise Missing("the bundle has no config.json, which it opens models by")
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = job.threads, 3
    model = ORTModelForCausalLM.from_pretrained(job.folder, session_options=options)
    ids = torch.tensor([job.ids])
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=job.tokens,
        do_sample=False,
        top_k=None,
        top_p=None,
    )
    return _until_end(job, written[0, len(job.ids) :].tolist())


def with_genai(job: Job, *, kernel: bool) -> list[int]:
    """Of a copy of the bundle, as onnxruntime-genai loads a library from there alone."""
    python = str(job.genai_python or sys.executable)
    found = subprocess.run([python, "-c", "import onnxruntime_genai"], capture_output=True)
    if found.returncode:
        raise Missing(
            "pip install onnxruntime-genai in an environment, and name it: --genai-python"
        )
    if not (job.folder / "genai_config.json").is_file():
        raise Missing("the bundle has no genai_config.json; its README.md says why")
    with tempfile.TemporaryDirectory(dir=job.folder.parent) as name:
        folder = Path(name)
        shutil.copytree(job.folder, folder, copy_function=_link, dirs_exist_ok=True)
        asked = {"folder": name, "ids": job.ids, "tokens": job.tokens, "threads": job.threads}
        if kernel:
            shutil.copyfile(_library(), folder / _library().name)
            asked["library"] = _library().name
        done = subprocess.run(
            [python, _GENAI, json.dumps(asked)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise InputError(f"onnxruntime-genai: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return _until_end(job, json.loads(done.stdout.splitlines()[-1])["ids"])


RUNTIMES: dict[str, Callable[[Job], list[int]]] = {
    "lighttoken, kernel": lambda job: with_lighttoken(job, kernel=True),
    "lighttoken, function": lambda job: with_lighttoken(job, kernel=False),
    "onnxruntime": with_onnxruntime,
    "optimum": with_optimum,
    "onnxruntime-genai, kernel": lambda job: with_genai(job, kernel=True),
    "onnxruntime-genai, function": lambda job: with_genai(job, kernel=False),
}


def _library() -> Path:
    found = native.find()
    if found.path is None or not found.usable:
        raise Missing(f"the kernel is not built ({found.problem or 'lighttoken op'})")
    return found.path


def _until_end(job: Job, ids: list[int]) -> list[int]:
    """Without the token that ended the text."""
    ends = end_ids(job.folder, error=FormatError)
    return ids[:-1] if ids and ids[-1] in ends else ids


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("prompt")
@click.option("--max-tokens", type=click.IntRange(1), default=60, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--genai-python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Python of an environment with onnxruntime-genai.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundle: Path,
    prompt: str,
    max_tokens: int,
    threads: int,
    genai_python: Path | None,
    as_json: bool,
) -> None:
    """Write after PROMPT with BUNDLE in every runtime that is installed, and compare."""
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tuple(tokenizer.encode(prompt).ids)
    job = Job(bundle.resolve(), prompt, ids, max_tokens, threads, genai_python)
    written: dict[str, list[int]] = {}
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name, write in RUNTIMES.items():
        try:
            written[name] = write(job)
            told = repr(tokenizer.decode(written[name]))
        except Missing as reason:
            missing[name] = str(reason)
            told = f"not here: {reason}"
        except Exception as error:  # whatever another library raises
            failed[name] = " ".join(str(error).split())
            told = f"cannot write with it: {failed[name]}"
        if not as_json:
            print(f"{name}: {told}", flush=True)
    if not written:
        raise InputError(f"nothing here can write with {bundle}: {failed or missing}")
    first = next(iter(written.values()))
    equal = all(ids == first for ids in written.values())
    if as_json:
        told = {"ids": written, "missing": missing, "failed": failed, "equal": equal}
        print(json.dumps(told))
    else:
        print(
            f"{len(written)} of {len(RUNTIMES)} wrote, {len(first)} tokens: "
            f"{'all equal' if equal else 'they differ'}"
        )
    if failed or not equal:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(command, __file__, None, kept="texts"))
