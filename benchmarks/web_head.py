"""What an output head takes in onnxruntime-web's WASM, by its form: one token, one thread.

Example:
    lighttoken setup web
    lighttoken compress table.npy table.lt --ratio 16
    python benchmarks/web_head.py table.lt

The packed head is the table's own; the matrices of the other forms are drawn, as long and as wide.
Node runs each in a process of its own, in turns. Times are of the processor, so that other work on
the machine is not counted; memory is the process's after its calls, node's own included.
"""

import json
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from exporters.ops.head import head_model
from runtime.profile.browser import modules
from toolkit import CompressedEmbedding

GROUP = 32
RUN = """
const [dist, path, width, turns] = process.argv.slice(2);
const ort = await import(`file://${dist}/ort.wasm.min.mjs`);
ort.env.wasm.numThreads = 1;
const { readFileSync } = await import("node:fs");
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(path)));
const values = Float32Array.from({ length: width }, (_, at) => Math.sin(at));
const hidden = new ort.Tensor("float32", values, [1, 1, Number(width)]);
const times = [];
for (let turn = 0; turn <= turns; turn++) {
  const start = process.cpuUsage();
  await session.run({ hidden });
  const { user, system } = process.cpuUsage(start);
  if (turn) times.push((user + system) / 1000); // the first call takes longer than all others
}
console.log(JSON.stringify({ times, bytes: process.memoryUsage().rss }));
"""


def matrix_models(rows: int, width: int) -> dict[str, onnx.ModelProto]:
    """Heads [width] -> [rows] of drawn numbers: 4 bits, and int8 with a scale for each column."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (rows, width // GROUP, GROUP // 2), np.uint8)
    scales = rng.random(rows * width // GROUP, np.float32)
    attributes = {"K": width, "N": rows, "bits": 4, "block_size": GROUP, "accuracy_level": 4}
    nbits = helper.make_node(
        "MatMulNBits",
        ["hidden", "codes", "scales"],
        ["logits"],
        domain="com.microsoft",
        **attributes,
    )
    int8 = [
        helper.make_node("DynamicQuantizeLinear", ["hidden"], ["bytes", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["bytes", "matrix", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["sums"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "columns"], ["both"]),
        helper.make_node("Mul", ["sums", "both"], ["logits"]),
    ]
    matrix = rng.integers(-127, 128, (width, rows), np.int8)
    columns = rng.random(rows, np.float32)
    return {
        "nbits": _model([nbits], {"codes": codes, "scales": scales}, rows, width),
        "int8": _model(int8, {"matrix": matrix, "columns": columns}, rows, width),
    }


def _model(nodes: list, tensors: dict, rows: int, width: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch", "length", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", rows])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def measure(path: Path, width: int, turns: int) -> tuple[list[float], int]:
    """Milliseconds of the processor for each call but the first, and bytes of memory after them."""
    program = path.with_name("run.mjs")
    program.write_text(RUN)
    dist = modules() / "node_modules" / "onnxruntime-web" / "dist"
    done = subprocess.run(
        ["node", str(program), str(dist), str(path), str(width), str(turns)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["times"], found["bytes"]


@click.command()
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--turns", default=3, show_default=True, help="Calls of each process.")
@click.option("--rounds", default=2, show_default=True, help="Processes of each form.")
def main(table: Path, turns: int, rounds: int) -> None:
    """Measure the output head of a packed TABLE, in its forms."""
    packed = CompressedEmbedding.load(table)
    models = {"packed": head_model(packed), **matrix_models(packed.rows, packed.width)}
    times, bytes_held = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as work:
        paths = {name: Path(work) / f"{name}.onnx" for name in models}
        for name, path in paths.items():
            onnx.save(models[name], path)
        for _ in range(rounds):
            for name, path in paths.items():
                some, held = measure(path, packed.width, turns)
                times[name] += some
                bytes_held[name].append(held)
        shown = Table("head", "MB", "ms of the processor", "memory, MB")
        for name, path in paths.items():
            size, most = path.stat().st_size / 1e6, max(bytes_held[name]) / 1e6
            shown.add_row(name, f"{size:.0f}", f"{np.median(times[name]):.0f}", f"{most:.0f}")
    Console().print(shown)


if __name__ == "__main__":
    main()
