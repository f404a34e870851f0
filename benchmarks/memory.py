"""What a session holds beside the packed bytes: look-up and head, by the kernel and by the graph.

Example:
    lighttoken op
    python benchmarks/memory.py minilm --ratio 25

Each session in a process of its own, opened from a file with external data; the figure is the
process's unique set after 20 calls, less that of a session of a model that holds nothing, less the
bytes of the packed tensors. Medians. The 128 rows, or the logits of one state, are in it.
"""

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from rate_distortion import read_table

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from runtime import native, open_session
from runtime.profile.measure.worker.memory import snapshot
from toolkit import Budget, LightTokenConfig, compress
from toolkit.errors import LightTokenError

_CALLS = 20
_TOKENS = 128
_EMPTY = (
    '<ir_version: 10, opset_import: ["" : 18]> empty (int64[b, s] ids) => (int64[b, s] same) '
    "{ same = Identity(ids) }"
)


def measure(path: str, warm: str, rows: int, op: bool) -> int:
    """Bytes that this process holds more, once the session at ``path`` has been called."""
    open_session(warm, threads=1)  # onnxruntime's own: libraries, environment, a first arena
    gc.collect()
    before = snapshot().uss
    session = open_session(path, threads=1, op=op)
    rng = np.random.default_rng(0)
    for _ in range(_CALLS):
        feeds = {}
        for info in session.inputs:
            if info.dtype == "int64":
                feeds[info.name] = rng.integers(0, rows, (1, _TOKENS))
            else:
                shape = (1, 1, int(info.shape[-1]))
                feeds[info.name] = rng.normal(size=shape).astype(np.float32)
        session.raw.run(None, feeds)
    return snapshot().uss - before


def in_a_process(path: Path, empty: Path, rows: int, *, op: bool, runs: int) -> float:
    """Median over processes."""
    found = []
    for _ in range(runs):
        spec = json.dumps([str(path), str(empty), rows, op])
        done = subprocess.run(
            [sys.executable, __file__, "--measure", spec, "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(int(done.stdout))
    return float(np.median(found))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("matrix")
@click.option("--ratio", default=25.0, show_default=True)
@click.option("--runs", default=5, show_default=True, help="Processes of each kind.")
@click.option("--quick", is_flag=True, help="Train the table briefly: bytes are the same.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--measure", "spec", hidden=True)
def command(
    matrix: str, ratio: float, runs: int, quick: bool, as_json: bool, spec: str | None
) -> None:
    """Memory of sessions of the matrix MATRIX, .npy or .safetensors or `minilm`, packed."""
    if spec is not None:
        print(measure(*json.loads(spec)))
        return
    dense = read_table(matrix, None)[0]
    config = LightTokenConfig(additive=True, **({"rounds": 2} if quick else {}))
    embedding = compress(dense, Budget(ratio=ratio), config=config)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.onnx"
        onnx.save(onnx.parser.parse_model(_EMPTY), empty)
        nothing = in_a_process(empty, empty, len(dense), op=False, runs=runs)
        for name, model in (("look-up", decode_model(embedding)), ("head", head_model(embedding))):
            path = Path(folder) / f"{name}.onnx"
            packed = sum(onnx.numpy_helper.to_array(t).nbytes for t in model.graph.initializer)
            onnx.save(
                model,
                path,
                save_as_external_data=True,
                location=f"{path.name}.data",
                size_threshold=1024,
            )
            for op in (True, False) if native.find().usable else (False,):
                held = in_a_process(path, empty, len(dense), op=op, runs=runs) - nothing
                results.append(
                    {
                        "layer": name,
                        "by": "native kernel" if op else "standard graph",
                        "packed_bytes": packed,
                        "held_bytes": held,
                        "above_packed_bytes": held - packed,
                    }
                )
    if as_json:
        print(json.dumps({"ratio": embedding.ratio, "results": results}, indent=1))
        return
    view = Table("layer", "by", "packed, MB", "held, MB", "above packed, MB")
    for row in results:
        sizes = (row["packed_bytes"], row["held_bytes"], row["above_packed_bytes"])
        view.add_row(str(row["layer"]), str(row["by"]), *(f"{float(s) / 1e6:.2f}" for s in sizes))
    Console(width=100).print(view)


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
