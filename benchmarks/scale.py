"""Time and peak memory of compressing a tall table: python benchmarks/scale.py --rows 250002

Writes a synthetic table (Gaussian rows of a decaying spectrum, norms that fall with the rank) to a
.npy file, compresses it with `lighttoken compress` in a process of its own, and prints seconds, the
process's peak resident memory, and that peak less the table's own bytes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

_BLOCK = 8192


@click.command()
@click.option("--rows", default=250_002, show_default=True)
@click.option("--width", default=768, show_default=True)
@click.option("--ratio", default=25.0, show_default=True)
def main(rows: int, width: int, ratio: float) -> None:
    """Run the measurement and print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        matrix, packed = Path(folder) / "table.npy", Path(folder) / "table.safetensors"
        write_table(matrix, rows, width)
        command = [sys.executable, "-m", "toolkit", "compress", str(matrix), str(packed)]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--ratio", str(ratio), "--json"], capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        # ru_maxrss is in kilobytes on Linux; of all children, and there was one.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        figures = json.loads(done.stdout)
    dense = rows * width * 4
    print(
        json.dumps(
            {
                "rows": rows,
                "width": width,
                "ratio": figures["ratio"],
                "relative_error": figures["relative_error"],
                "seconds": round(seconds, 1),
                "peak_bytes": peak,
                "peak_above_table_bytes": peak - dense,
            },
            indent=2,
        )
    )


def write_table(path: Path, rows: int, width: int) -> None:
    """float32 [rows, width], made a block at a time."""
    rng = np.random.default_rng(0)
    spectrum = (1 + np.arange(width)) ** -0.35
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))
    for start in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - start)
        norms = 0.8 + 0.4 * (start + np.arange(count)) / rows
        block = (rng.standard_normal((count, width)) * spectrum) @ rotation
        table[start : start + count] = 0.1 * norms[:, None] * block
    table.flush()


if __name__ == "__main__":
    main()
