"""What each way to serve a shared output head takes, on disk and in memory: a tied decoder.

Example:
    lighttoken op
    python benchmarks/tied.py minilm

A GPT-2 of a few layers with random weights around a real table: its text would make no sense, its
bytes, memory and times are those of a trained one. Every way is a bundle, measured as `lighttoken
profile` does, each in processes of its own, beside the model as exported.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from rate_distortion import read_table

from exporters import ExportOptions, export
from runtime.profile.measure.rounds import profile
from toolkit import Budget, LightTokenConfig
from toolkit.errors import LightTokenError

# Of a way: its head and its weights, and whether the native kernel runs it.
WAYS = (
    ("dense", "fp32", True),
    ("nbits", "fp32", True),
    ("packed", "fp32", True),
    ("packed", "fp32", False),
    ("nbits", "int4", True),
    ("packed", "int4", True),
)
_METRICS = ("disk_bytes", "load_uss_bytes", "steady_uss_bytes", "peak_rss_bytes")


@dataclass(frozen=True)
class Row:
    """Bytes and milliseconds, medians; ``time_ratio`` to the original, in turns of processes."""

    way: str
    figures: dict[str, float]
    time_ms: float
    time_ratio: float


def build(table: NDArray[np.float32], layers: int, folder: Path) -> Path:
    """A GPT-2 around ``table`` [V, d], as save_pretrained writes it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    rows, width = table.shape
    config = GPT2Config(vocab_size=rows, n_embd=width, n_layer=layers, n_head=width // 32)
    model = GPT2LMHeadModel(config)
    model.get_input_embeddings().weight.data.copy_(torch.from_numpy(table))
    model.save_pretrained(folder)
    return folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("matrix")
@click.option("--ratio", default=25.0, show_default=True)
@click.option("--layers", default=6, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="Processes a model.")
@click.option("--json", "as_json", is_flag=True)
def command(matrix: str, ratio: float, layers: int, repeats: int, as_json: bool) -> None:
    """Measure a decoder whose table and head are MATRIX, .npy or .safetensors or `minilm`."""
    rows = measure(read_table(matrix, None)[0], ratio, layers, repeats)
    if as_json:
        print(json.dumps([row.__dict__ for row in rows], indent=1))
        return
    view = Table(
        "head, weights", "on disk", "after load", "in use", "peak", "1 token", "to original"
    )
    for row in rows:
        sizes = [f"{row.figures[name] / 1e6:.1f} MB" for name in _METRICS]
        view.add_row(row.way, *sizes, f"{row.time_ms:.2f} ms", f"{row.time_ratio:.2f}")
    Console(width=110).print(view)


def measure(table: NDArray[np.float32], ratio: float, layers: int, repeats: int) -> list[Row]:
    """The original and each way, in the order of ``WAYS``."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = build(table, layers, work / "gpt2")
        for head, weights, op in WAYS:
            out = work / f"{head}-{weights}"
            if not out.is_dir():
                options = ExportOptions(
                    head=head,
                    weights=weights,
                    exporter="dynamo",
                    config=LightTokenConfig.of_effort("fast"),  # bytes and times are the same
                )
                export(str(source), out, Budget(ratio=ratio), options=options, keep_original=work)
            original = work / "original" / "model.onnx"
            report = profile(out, [original], lengths=(1,), repeats=repeats, op=op)
            if not rows:
                rows.append(_row("original", report.measurements[1].figures, 1.0))
            ratios = report.comparisons[0].ratios
            way = f"{head}, {weights}{'' if op else ', no kernel'}"
            rows.append(_row(way, report.measurements[0].figures, ratios["latency_1x1_p50_ms"]))
    return rows


def _row(way: str, figures: Any, ratio: float) -> Row:
    medians = {name: figures[name].median for name in _METRICS}
    return Row(way, medians, figures["latency_1x1_p50_ms"].median, ratio)


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
