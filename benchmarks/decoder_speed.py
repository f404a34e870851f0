"""How fast a decoder writes in each runtime that is here, and what it reads for a token.

Example:
    lighttoken op
    python benchmarks/decoder_speed.py gemma --original ./gemma-3-270m --genai ./gemma-genai \\
        --gguf gemma-3-270m-q4_k_m.gguf --threads 1 --threads 2

Ways to run one model: our bundle with and without the kernel; stock int4, onnxruntime's own tools'
work on the original (`MatMulNBits`, `GatherBlockQuantized`, 32 numbers to a scale); a folder of
onnxruntime-genai's model builder, by onnxruntime alone and by onnxruntime-genai; a GGUF file by
llama.cpp. Each figure comes from a fresh process; rounds go forth and back. Ways that cannot be
taken here are named below the tables.

Memory is what the process holds above the bare runtime (of genai and llama.cpp: above the process
that has imported it). Bytes for a token are those of the files and the cache, as stored; «of a
copy» is their share of what a plain copy of large arrays moves in that time on as many threads.
"""

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from exporters.comparisons.profiled import file_beside
from runtime import native
from runtime.profile.measure.cell import Cell
from runtime.profile.measure.disk import read_afresh
from runtime.profile.measure.job import Job
from runtime.profile.measure.launch import Launcher
from runtime.profile.measure.worker.memory import peak_rss, reset_peak, snapshot
from runtime.profile.measure.worker.write_job import copy_speed
from runtime.profile.model import Model, read_models
from runtime.profile.places import find_place
from runtime.profile.report.report import Statistic
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError, LightTokenError
from toolkit.json_files import last_json

Figures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """What every way is asked for: so many texts of ``tokens`` after prompts of each length."""

    threads: int
    lengths: tuple[int, ...]
    tokens: int
    runs: int
    rows: int


@dataclass
class Way:
    """A model in a runtime; ``once`` starts its processes and gives the figures of a round."""

    name: str
    once: Callable[[], Figures]
    rounds: list[Figures] = field(default_factory=list)

    def figures(self) -> dict[str, Statistic]:
        """By the names of a profile's metrics."""
        names = dict.fromkeys(name for one in self.rounds for name in one)
        return {n: Statistic.of([one[n] for one in self.rounds if n in one]) for n in names}


def ort_way(
    name: str, model: Model, task: Task, launcher: Launcher, *, op: bool, left: list[str]
) -> Way | None:
    """A model by plain onnxruntime, as ``lighttoken profile`` measures it, if its values are right.

    ``left`` gets a line where they are not.
    """
    job = Job(
        measure="",
        model="",
        provider="",
        grid=tuple((1, length) for length in task.lengths),
        runs=task.runs,
        warmup=1,
        threads=task.threads,
        rows=task.rows,
        tokens=task.tokens,
    )
    cell = Cell(model, find_place("cpu"), job, op=op)
    if not cell.writes:
        left.append(f"{name}: {model.path} is no decoder with a cache")
        return None
    cell.check(launcher)

    def once() -> Figures:
        cell.take(launcher, "time")
        cell.take(launcher, "memory")
        if cell.ended is not None:
            raise InputError(f"{name}: {cell.ended}")
        cell.end_round()
        return cell.rounds[-1]

    if cell.ended is not None:
        left.append(f"{name}: {cell.ended}")
        return None
    return Way(name, once)


def other_way(name: str, runtime: str, path: Path, task: Task, step: tuple[float, float]) -> Way:
    """A model by another runtime, in this program started again.

    ``step``: bytes that a token reads of the weights, and of the cache for each token before.
    """

    def once() -> Figures:
        asked = {"path": str(path), **task.__dict__}
        done = subprocess.run(
            [sys.executable, __file__, "--worker", runtime],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
        told = last_json(done.stdout)
        if done.returncode or "figures" not in told:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if done.returncode < 0:
                reason = f"ended by {signal.Signals(-done.returncode).name}"
            raise InputError(f"{name} failed: {reason}")
        figures: Figures = told["figures"]
        for length in task.lengths:
            read = step[0] + step[1] * (length + (1 + task.tokens) / 2)
            if read:
                speed = figures[f"writing_{length}_tokens_s"]
                figures[f"writing_{length}_read_bytes"] = read
                figures[f"writing_{length}_bandwidth_share"] = (
                    read * speed / figures["copy_bytes_s"]
                )
        return figures

    return Way(name, once)


def write_with(runtime: str, asked: dict[str, Any]) -> Figures:
    """What one process of another runtime finds; in that process."""
    import numpy as np

    path = asked.pop("path")
    task = Task(**{**asked, "lengths": tuple(asked["lengths"])})
    longest = max(task.lengths) + task.tokens + 8
    open_ = {"genai": open_genai, "llama.cpp": open_llama}[runtime]
    load = open_(path, task, longest)
    snapshot()
    reset_peak()
    before = snapshot().rss
    write = load()
    rng = np.random.default_rng(0)
    figures: Figures = {}
    for length in sorted(task.lengths):
        taken = [
            write([int(id_) for id_ in rng.integers(1, task.rows, length)])
            for _ in range(1 + task.runs)
        ][1:]
        figures[f"first_token_{length}_ms"] = 1e3 * statistics.median(one[0] for one in taken)
        later = sum(one[1] for one in taken)
        figures[f"writing_{length}_tokens_s"] = len(taken) * task.tokens / later
        figures[f"writing_{length}_rss_bytes"] = snapshot().rss - before
        figures[f"writing_{length}_peak_rss_bytes"] = (peak_rss() or 0) - before
    speed = copy_speed(task.threads)
    if speed is not None:
        figures["copy_bytes_s"] = speed
    return figures


Write = Callable[[list[int]], tuple[float, float]]
"""A prompt's ids in; seconds to the first token and for all others out."""


def open_genai(path: str, task: Task, longest: int) -> Callable[[], Write]:
    """onnxruntime-genai, greedy."""
    import onnxruntime_genai as genai

    def load() -> Write:
        config = genai.Config(path)
        options = {"intra_op_num_threads": task.threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        model = genai.Model(config)

        def write(prompt: list[int]) -> tuple[float, float]:
            asked = genai.GeneratorParams(model)
            size = len(prompt) + task.tokens + 1
            asked.set_search_options(do_sample=False, max_length=size, min_length=size)
            text = genai.Generator(model, asked)
            start = time.perf_counter()
            text.append_tokens(prompt)
            text.generate_next_token()
            first = time.perf_counter()
            for _ in range(task.tokens):
                text.generate_next_token()
            return first - start, time.perf_counter() - first

        return write

    return load


def open_llama(path: str, task: Task, longest: int) -> Callable[[], Write]:
    """llama.cpp, greedy."""
    import llama_cpp

    def load() -> Write:
        model = llama_cpp.Llama(
            path,
            n_ctx=longest,
            n_threads=task.threads,
            n_threads_batch=task.threads,
            n_gpu_layers=0,
            verbose=False,
        )

        def write(prompt: list[int]) -> tuple[float, float]:
            model.reset()
            start = time.perf_counter()
            text = model.generate(prompt, temp=0.0)
            next(text)
            first = time.perf_counter()
            for _ in range(task.tokens):
                next(text)
            return first - start, time.perf_counter() - first

        return write

    return load


def gguf_step(path: Path) -> tuple[float, float]:
    """Bytes that a token reads of a GGUF file's tensors, and of a half-precision cache.

    (0, 0) where no `gguf` package is here to tell.
    """
    if find_spec("gguf") is None:
        return 0.0, 0.0
    from gguf import GGUFReader

    reader = GGUFReader(path)
    tensors = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    if "output.weight" in tensors:  # the table is looked up alone
        del tensors["token_embd.weight"]

    def number(ending: str) -> int:
        found = next(f for name, f in reader.fields.items() if name.endswith(ending))
        return int(found.parts[found.data[0]][0])

    per_layer = number(".attention.head_count_kv") * (
        number(".attention.key_length") + number(".attention.value_length")
    )
    return float(sum(tensors.values())), 2.0 * number(".block_count") * per_layer


def measure(
    task: Task,
    bundle: Path,
    int4: Path | None,
    genai: Path | None,
    gguf: Path | None,
    repeats: int,
    left: list[str],
) -> list[Way]:
    """All ways, with their rounds; ``left`` gets those that cannot be taken, and why."""
    models = read_models([bundle, *([int4] if int4 else []), *([genai] if genai else [])])
    task = Task(
        **{**task.__dict__, "rows": min((model.rows for model in models if model.rows), default=0)}
    )
    for model in models:
        read_afresh(model.files)
    with Launcher(timeout_s=1800.0) as launcher:
        found: list[Way | None] = []
        ours = models[0]
        if native.find().usable:
            found.append(ort_way("LightToken", ours, task, launcher, op=True, left=left))
        else:
            left.append("LightToken with its kernel: not built here (`lighttoken op`)")
        name = "LightToken, no kernel"
        found.append(ort_way(name, ours, task, launcher, op=False, left=left))
        rest = models[1:]
        if int4 is not None:
            found.append(ort_way("stock int4", rest.pop(0), task, launcher, op=False, left=left))
        if genai is not None:
            model = rest.pop(0)
            name = "genai's graph, onnxruntime"
            found.append(ort_way(name, model, task, launcher, op=False, left=left))
            if _is_here("onnxruntime_genai", "onnxruntime-genai", left):
                step = (model.step.table + model.step.weights, model.step.cache)
                found.append(other_way("onnxruntime-genai", "genai", genai.parent, task, step))
        if gguf is not None and _is_here("llama_cpp", "llama.cpp (llama-cpp-python)", left):
            found.append(other_way("llama.cpp", "llama.cpp", gguf, task, gguf_step(gguf)))
        ways = [way for way in found if way is not None]
        for number in range(repeats):
            for way in ways[:: 1 if number % 2 == 0 else -1]:
                try:
                    way.rounds.append(way.once())
                except InputError as error:
                    left.append(str(error))
                    ways = [one for one in ways if one is not way]
    return ways


def _is_here(module: str, name: str, left: list[str]) -> bool:
    if find_spec(module) is not None:
        return True
    left.append(f"{name}: not installed here")
    return False


def table(ways: Sequence[Way], length: int) -> list[str]:
    """Lines of a markdown table."""
    lines = [
        "| | tokens/s | first token | memory | read a token | of a copy |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way in ways:
        figures = way.figures()
        speed = figures[f"writing_{length}_tokens_s"]
        cells = [
            f"{speed.median:.1f} ({speed.low:.1f}–{speed.high:.1f})",
            *(
                "–" if figure is None else f"{figure.median * scale:.{digits}f}{unit}"
                for name, scale, digits, unit in (
                    (f"first_token_{length}_ms", 1, 0, " ms"),
                    (f"writing_{length}_rss_bytes", 1e-6, 0, " MB"),
                    (f"writing_{length}_read_bytes", 1e-6, 1, " MB"),
                    (f"writing_{length}_bandwidth_share", 100, 0, "%"),
                )
                for figure in [figures.get(name)]
            ),
        ]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return lines


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--original", help="Where the original is, of which int4 is made.")
@click.option("--genai", type=click.Path(exists=True, path_type=Path), help="A builder's folder.")
@click.option("--gguf", type=click.Path(exists=True, path_type=Path), help="For llama.cpp.")
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--length", "lengths", type=int, multiple=True, default=(32, 512), show_default=True)
@click.option("--tokens", default=32, show_default=True, help="Written after each prompt.")
@click.option("--runs", default=3, show_default=True, help="Texts in each process.")
@click.option("--repeats", default=5, show_default=True, help="Rounds.")
@click.option("--int4/--no-int4", "with_int4", default=True, help="Measure stock int4 too.")
@click.option("--json", "as_json", is_flag=True)
def command(
    bundle: Path,
    original: str | None,
    genai: Path | None,
    gguf: Path | None,
    threads: tuple[int, ...],
    lengths: tuple[int, ...],
    tokens: int,
    runs: int,
    repeats: int,
    with_int4: bool,
    as_json: bool,
) -> None:
    """Print a table for each number of threads and length of a prompt."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        int4 = None
        if with_int4:
            manifest = read_manifest(bundle)
            int4 = file_beside("int4", manifest, original, Path(work), trust_remote_code=False)
        for number in threads:
            left: list[str] = []
            task = Task(number, lengths, tokens, runs, rows=0)
            graph = None if genai is None else genai / "model.onnx"
            ways = measure(task, bundle, int4, graph, gguf, repeats, left)
            figures = {way.name: {n: f.__dict__ for n, f in way.figures().items()} for way in ways}
            found.append({"threads": number, "figures": figures, "left_out": left})
            for length in () if as_json else lengths:
                print(
                    f"\n{number} thread{'s'[: number != 1]}, after a prompt of {length} tokens:\n"
                )
                print("\n".join(table(ways, length)), flush=True)
            for line in () if as_json else left:
                print(f"\nLeft out: {line}", flush=True)
    if as_json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps({"figures": write_with(sys.argv[2], json.loads(sys.stdin.read()))}))
        raise SystemExit
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
