"""What an output head costs: the packed one beside a dense MatMul and 4-bit MatMulNBits.

Example:
    lighttoken op
    python benchmarks/head.py minilm --ratio 25

One thread, all models in one process, taking turns; medians of single calls through onnxruntime,
inputs and outputs bound. So each finds the caches full of another's weights, as the layers of a
model leave them; `--warm` times it with its own there. `packed, additive` has codebooks whose
entries are sums (LightTokenConfig). A hidden state is a row of the table, drawn by Zipf's law,
and noise of the same
length: new for each call. Logits are compared with exact ones of the same weights, and for how many
states the largest is the same row's.
"""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from rate_distortion import read_table
from turns import bandwidth, measure, open_model

from exporters.ops.head import head_model
from runtime import native
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.allocate.importance import zipf_prior
from toolkit.errors import LightTokenError

Floats = NDArray[np.float32]
_WARMUP = 20
_STATES = 1000  # that the largest logit is compared on
_BLOCK = 32


@dataclass(frozen=True)
class Subject:
    """A head; ``nbytes`` of weights. ``packed``: the table whose logits it has, None for dense."""

    name: str
    session: onnxruntime.InferenceSession
    nbytes: int
    packed: CompressedEmbedding | None = None


def subjects(tables: dict[str, CompressedEmbedding], dense: Floats) -> list[Subject]:
    """The dense MatMul, 4 bits, and each table's kernel where it is built, else its graph."""
    matmul = _matmul(dense)
    found = []
    for name, model in (
        ("dense MatMul, fp32", matmul),
        (f"MatMulNBits, int4, block {_BLOCK}", _four_bits(matmul)),
    ):
        found.append(Subject(name, open_model(model, kernel=False), _weights(model)))
    usable = native.find().usable
    for name, table in tables.items():
        model = head_model(table)
        if not usable or name == "packed":
            graph = open_model(model, kernel=False)
            found.append(Subject(f"{name}, standard graph", graph, _weights(model), table))
        if usable:
            kernel = open_model(model, kernel=True)
            found.append(Subject(f"{name}, native kernel", kernel, _weights(model), table))
    return found


def _weights(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def _matmul(dense: Floats) -> onnx.ModelProto:
    rows, width = dense.shape
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        f"g (float[b, s, {width}] hidden) => (float[b, s, {rows}] logits) "
        "{ logits = MatMul(hidden, head) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(dense.T.copy(), "head"))
    return model


def _four_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    logging.disable(logging.INFO)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    config = DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK, is_symmetric=True, accuracy_level=4, bits=4
    )
    quantizer = MatMulNBitsQuantizer(copy, algo_config=config)
    quantizer.process()
    return quantizer.model.model


def draw_states(dense: Floats, count: int, rng: np.random.Generator) -> Floats:
    """float32 [1, count, d]: rows, more often those of frequent tokens, and noise."""
    ids = rng.choice(len(dense), count, p=zipf_prior(len(dense)))
    rows = dense[ids]
    noise = rng.normal(size=rows.shape).astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    noise *= length / np.linalg.norm(noise, axis=1, keepdims=True)
    return (rows + noise)[None]


@dataclass(frozen=True)
class Agreement:
    """With exact logits of the same weights: mean square and largest difference, both by the
    standard deviation of the logits, and the share of states whose largest logit is the same row's.
    """

    error: float
    worst: float
    top1: float


def check(subject: Subject, dense: Floats, states: Floats) -> Agreement:
    """Compare, some states at a time."""
    squares, worst, same, spread = 0.0, 0.0, 0, 0.0
    weights = dense if subject.packed is None else subject.packed.dense()
    for start in range(0, states.shape[1], 50):
        some = states[:, start : start + 50]
        logits = subject.session.run(None, {"hidden": some})[0][0]
        exact = some[0] @ weights.T
        squares += float(np.square(logits - exact).mean(axis=1).sum())
        spread += float(exact.var(axis=1).sum())
        worst = max(worst, float(np.abs(logits - exact).max()))
        same += int((logits.argmax(axis=1) == exact.argmax(axis=1)).sum())
    count = states.shape[1]
    deviation = float(np.sqrt(spread / count))
    return Agreement(float(np.sqrt(squares / count)) / deviation, worst / deviation, same / count)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("matrix")
@click.option("--ratio", default=25.0, show_default=True)
@click.option("--lengths", default="1,8", show_default=True, help="Hidden states a call.")
@click.option("--runs", default=200, show_default=True, help="Timed calls.")
@click.option("--warm", is_flag=True, help="Time each head right after another call of it.")
@click.option("--quick", is_flag=True, help="Train the table briefly: times are the same.")
@click.option("--json", "as_json", is_flag=True)
def command(
    matrix: str, ratio: float, lengths: str, runs: int, warm: bool, quick: bool, as_json: bool
) -> None:
    """Time heads of the matrix MATRIX, .npy or .safetensors or `minilm`."""
    err = Console(stderr=True, highlight=False)
    dense = read_table(matrix, None)[0].astype(np.float32)
    rounds = {"rounds": 2} if quick else {}
    tables = {
        name: compress(
            dense, Budget(ratio=ratio), config=LightTokenConfig(additive=additive, **rounds)
        )
        for name, additive in (("packed", False), ("packed, additive", True))
    }
    found = subjects(tables, dense)
    if not native.find().usable:
        err.print("the kernel is not built: lighttoken op", markup=False)
    rng = np.random.default_rng(0)
    copied = bandwidth()
    results: list[dict[str, Any]] = []
    states = draw_states(dense, _STATES, np.random.default_rng(1))
    agreements = [check(subject, dense, states) for subject in found]
    for length in (int(part) for part in lengths.split(",")):
        times = measure(
            [subject.session for subject in found],
            lambda n=length: draw_states(dense, n, rng),
            runs,
            warmup=_WARMUP,
            warm=warm,
        )
        for subject, series, agreement in zip(found, times, agreements, strict=True):
            seconds = float(np.median(series))
            moved = subject.nbytes + 4 * length * len(dense)  # weights read, logits written
            results.append(
                {
                    "states": length,
                    "head": subject.name,
                    "bytes": subject.nbytes,
                    "microseconds": 1e6 * seconds,
                    # In turns: the machine's speed changes between one second and the next.
                    "of_dense": float(np.median(series / times[0])),
                    "of_four_bits": float(np.median(series / times[1])),
                    "share_of_bandwidth_bound": moved / copied / seconds,
                    "error": agreement.error,
                    "worst": agreement.worst,
                    "top1": agreement.top1,
                }
            )
    if as_json:
        print(json.dumps({"ratio": tables["packed"].ratio, "results": results}, indent=1))
        return
    view = Table(
        "states", "head", "MB", "us a call", "dense is", "4 bits is", "of bound", "error", "top-1"
    )
    for row in results:
        view.add_row(
            str(row["states"]),
            str(row["head"]),
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['microseconds']:.0f}",
            f"{1 / row['of_dense']:.2f} x",
            f"{1 / row['of_four_bits']:.2f} x",
            f"{row['share_of_bandwidth_bound']:.0%}",
            f"{row['error']:.2%}",
            f"{row['top1']:.1%}",
        )
    Console(width=110).print(view)


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
