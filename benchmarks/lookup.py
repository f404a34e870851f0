"""What one lookup costs: the native kernel beside standard graphs and a dense Gather.

Example:
    lighttoken op
    python benchmarks/lookup.py minilm --ratio 25

One thread, all models in one process, taking turns; medians of single calls through onnxruntime,
inputs and outputs bound, its own overhead included (a Gather of one row shows that). Ids are drawn
by Zipf's law, as text has them, and new for each call; equal ids of a call are decoded once by the
kernel. After timing, every model's rows are compared with CompressedEmbedding.lookup.
"""

import json
import sys
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

sys.path.insert(0, str(Path(__file__).parent))

from rate_distortion import read_table
from turns import bandwidth, measure, open_model

from exporters.decode import decode_model
from runtime import native
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.embedding import DenseDecoder
from toolkit.errors import LightTokenError
from toolkit.importance import zipf_prior

Ids = NDArray[np.int64]
_WARMUP = 30


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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("matrix")
@click.option("--ratio", default=25.0, show_default=True)
@click.option("--lengths", default="1,8,32,128,512", show_default=True, help="Tokens a call.")
@click.option("--runs", default=400, show_default=True, help="Timed calls.")
@click.option("--quick", is_flag=True, help="Train the table briefly: times are the same.")
@click.option("--json", "as_json", is_flag=True)
def command(matrix: str, ratio: float, lengths: str, runs: int, quick: bool, as_json: bool) -> None:
    """Time lookups in the token-embedding table MATRIX, .npy or .safetensors or `minilm`."""
    err = Console(stderr=True, highlight=False)
    dense = read_table(matrix, None)[0]
    config = LightTokenConfig.of_effort("fast") if quick else None
    embedding = compress(dense, Budget(ratio=ratio), config=config)
    found = subjects(embedding, dense)
    if found[-1].name != "native kernel":
        err.print("the kernel is not built: lighttoken op", markup=False)
    rng = np.random.default_rng(0)
    prior = zipf_prior(len(dense))
    copied = bandwidth()
    results = []
    for length in (int(part) for part in lengths.split(",")):
        times = measure(
            [subject.session for subject in found],
            lambda n=length: rng.choice(len(dense), (1, n), p=prior),
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
                    "model": subject.name,
                    "microseconds": 1e6 * seconds,
                    "of_dense_gather": seconds / medians[0],
                    "share_of_bandwidth_bound": moved / copied / seconds,
                }
            )
    check(found, embedding, dense, rng.choice(len(dense), (4, 128), p=prior))
    if as_json:
        print(json.dumps({"ratio": embedding.ratio, "results": results}, indent=1))
        return
    view = Table(
        "tokens", "model", "us a call", f"times {found[-1].name}", "times a Gather's", "of bound"
    )
    for row in results:
        last = next(r for r in reversed(results) if r["tokens"] == row["tokens"])
        view.add_row(
            str(row["tokens"]),
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
