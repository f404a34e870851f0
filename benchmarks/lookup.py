"""What one lookup costs: the native kernel beside standard graphs and a dense Gather.

Example:
    lighttoken op
    python benchmarks/lookup.py minilm --ratio 25 --text wiki.txt --tokenizer tokenizer.json

One thread, all models in one process, taking turns; medians of single calls through onnxruntime,
inputs and outputs bound, its own overhead included (a Gather of one row shows that). Ids are new
for each call: running tokens of a text, or else drawn by Zipf's law. The kernel decodes equal ids
of a call once; how many differ is printed, as text repeats itself more than draws do. After timing,
every model's rows are compared with CompressedEmbedding.lookup.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from rate_distortion import read_table
from turns import bandwidth, measure, open_model

from exporters.ops.lookup import decode_model
from runtime import native
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.errors import InputError, LightTokenError
from toolkit.table.embedding import DenseDecoder

Ids = NDArray[np.int64]
_WARMUP = 30
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Subject:
    """A way to read rows; ``exact`` to the bit, or to float32's rounding."""

    name: str
    session: onnxruntime.InferenceSession
    exact: bool


def subjects(embedding: CompressedEmbedding, dense: NDArray[np.float32]) -> list[Subject]:
    """The dense Gather, both standard graphs, and the kernel where it is built, last."""
    packed = decode_model(embedding)
    found = [
        Subject("dense Gather", open_model(_gather(dense), kernel=False), exact=True),
        Subject("float graph", open_model(decode_model(_in_float(embedding)), kernel=False), False),
        Subject("MatMulInteger graph", open_model(packed, kernel=False), True),
    ]
    if native.find().usable:
        found.append(Subject("native kernel", open_model(packed, kernel=True), True))
    return found


def _gather(dense: NDArray[np.float32]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        f"g (int64[b, s] ids) => (float[b, s, {dense.shape[1]}] rows) "
        "{ rows = Gather(table, ids) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(dense, "table"))
    return model


def _in_float(embedding: CompressedEmbedding) -> CompressedEmbedding:
    """The same table with float32 decoders: a lookup of latents and a float MatMul."""
    stages = []
    for stage in embedding.stages:
        decoder = stage.decoder
        if isinstance(decoder, DenseDecoder) and decoder.scale is not None:
            weight = decoder.weight.astype(np.float32) * decoder.scale
            stage = replace(stage, decoder=DenseDecoder(weight))
        stages.append(stage)
    return replace(embedding, stages=tuple(stages))


def check(found: list[Subject], embedding: CompressedEmbedding, dense: Any, ids: Ids) -> None:
    """Raise unless all read the rows that ``lookup`` reads."""
    expected = embedding.lookup(ids)
    for subject in found:
        rows = subject.session.run(None, {"ids": ids})[0]
        wanted = dense[ids] if subject.name == "dense Gather" else expected
        tolerance = 0.0 if subject.exact else 1e-5 * float(np.abs(expected).max())
        if not np.abs(rows - wanted).max(initial=0.0) <= tolerance:
            raise SystemExit(f"{subject.name} decodes other rows than lookup does")


def drawn(rows: int, rng: np.random.Generator) -> Callable[[int], Ids]:
    """Ids [1, n] by the law of Zipf and Mandelbrot, 1 / (rank + 2.7), the frequent ones first."""
    weights = 1.0 / (np.arange(rows) + 1 + 2.7)
    prior = weights / weights.sum()
    return lambda n: rng.choice(rows, (1, n), p=prior)


def running(
    text: Path, tokenizer: Path, rows: int, rng: np.random.Generator
) -> Callable[[int], Ids]:
    """Ids [1, n] of a text as they follow one another, from anywhere in it.

    Raises:
        InputError: the text is shorter than the longest call, or its ids are not the table's.
    """
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_truncation()
    reader.no_padding()
    content = text.read_text(encoding="utf-8", errors="replace")
    ids = np.array(reader.encode(content, add_special_tokens=False).ids, dtype=np.int64)
    if ids.max(initial=0) >= rows:
        raise InputError(f"{tokenizer} makes id {ids.max()} of {text}, the table has {rows} rows")

    def window(n: int) -> Ids:
        if n > len(ids):
            raise InputError(f"{text} has {len(ids)} tokens, a call {n}; give a longer text")
        start = rng.integers(len(ids) - n + 1)
        return ids[None, start : start + n]

    return window


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("matrix")
@click.option("--ratio", default=25.0, show_default=True)
@click.option("--lengths", default="1,8,32,128,512", show_default=True, help="Tokens a call.")
@click.option("--runs", default=400, show_default=True, help="Timed calls.")
@click.option("--text", type=_FILE, help="Take ids from this text; needs --tokenizer.")
@click.option("--tokenizer", type=_FILE, help="The model's tokenizer.json.")
@click.option("--quick", is_flag=True, help="Train the table briefly: times are the same.")
@click.option("--json", "as_json", is_flag=True)
def command(
    matrix: str,
    ratio: float,
    lengths: str,
    runs: int,
    text: Path | None,
    tokenizer: Path | None,
    quick: bool,
    as_json: bool,
) -> None:
    """Time lookups in the token-embedding table MATRIX, .npy or .safetensors or `minilm`."""
    err = Console(stderr=True, highlight=False)
    if (text is None) != (tokenizer is None):
        raise click.UsageError("--text and --tokenizer come together")
    dense = read_table(matrix, None)[0]
    config = LightTokenConfig.of_effort("fast") if quick else None
    embedding = compress(dense, Budget(ratio=ratio), config=config)
    found = subjects(embedding, dense)
    if found[-1].name != "native kernel":
        err.print("the kernel is not built: lighttoken op", markup=False)
    rng = np.random.default_rng(0)
    draw = (
        running(text, tokenizer, len(dense), rng) if text and tokenizer else drawn(len(dense), rng)
    )
    copied = bandwidth()
    results = []
    sizes = [int(part) for part in lengths.split(",")]
    for length in sizes:
        calls = [draw(length) for _ in range(runs + _WARMUP)]
        distinct = float(np.mean([len(np.unique(ids)) for ids in calls]))
        following = iter(calls)
        times = measure(
            [subject.session for subject in found],
            lambda: next(following),  # noqa: B023 -- used up before the next length
            runs,
            warmup=_WARMUP,
        )
        medians = [float(np.median(series)) for series in times]
        # Each call writes its rows and reads their codes: what memory alone would take.
        moved = length * (4 * embedding.width + embedding.nbytes / embedding.rows)
        for subject, seconds in zip(found, medians, strict=True):
            results.append(
                {
                    "tokens": length,
                    "distinct": distinct,
                    "model": subject.name,
                    "microseconds": 1e6 * seconds,
                    "of_dense_gather": seconds / medians[0],
                    "share_of_bandwidth_bound": moved / copied / seconds,
                }
            )
    check(found, embedding, dense, np.concatenate([draw(max(sizes)) for _ in range(4)]))
    if as_json:
        print(json.dumps({"ratio": embedding.ratio, "results": results}, indent=1))
        return
    view = Table(
        "tokens",
        "distinct",
        "model",
        "us a call",
        f"times {found[-1].name}",
        "times a Gather's",
        "of bound",
    )
    for row in results:
        last = next(r for r in reversed(results) if r["tokens"] == row["tokens"])
        view.add_row(
            str(row["tokens"]),
            f"{row['distinct']:.0f}",
            str(row["model"]),
            f"{row['microseconds']:.1f}",
            f"{row['microseconds'] / last['microseconds']:.2f}",
            f"{row['of_dense_gather']:.2f}",
            f"{row['share_of_bandwidth_bound']:.0%}",
        )
    Console(width=100).print(view)


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
