"""Writes docs/targets.md from exporters/targets.py.

Example:
    python -m tests.contract.targets_page
"""

from pathlib import Path

from exporters.targets import TARGETS, Target
from toolkit.files import write_aside

FILE = Path(__file__).parents[2] / "docs" / "targets.md"

PAGE = """\
# Targets

`lighttoken export SOURCE OUT --target NAME` makes a bundle for a place. What it decides stands in
`exporters/targets.py`, and this page is written from there (`python -m
tests.contract.targets_page`; a test fails where they differ). `--decode`, `--head`, `--fuse`,
`--weights`, `--batch` and `--sequence` decide otherwise.

| target | decode graph | products | attention | shared head | bodies | stock | inputs | shapes |
|---|---|---|---|---|---|---|---|---|
{table}

{reasons}

Stock: what `--decode stock` writes a table in, by onnxruntime's operators ([stock.md](stock.md)).
A shared head is `packed` then unless something else is asked for. Values were checked on the CPU
provider.

Shared output heads: `packed` reads the same bytes as the look-up, `nbits` is a copy in 4 bits
(`MatMulNBits`, blocks of 32, rounded by outputs), `dense` one in float32. What each takes:
`python benchmarks/tied.py`, in [benchmarks.md](benchmarks.md).

Attention: `one node` is onnxruntime's `MultiHeadAttention` in place of the twenty or so that
exporters write (`--fuse`; `--no-fuse` leaves them), with the shapes of values on the way left out
and biases moved into `MatMulNBits`. It is made where the whole model then gives the same values,
padded texts among them, to 1e-4 of the largest; the export says how many it made. Known are
attention with and without masks, causal, with rotary positions and with shared keys; DeBERTa's
stays as it is, and so do graphs of the optimum exporter, which write scales out. On the CPU it is
the default where the decode graph is a function, and [footprint.md](footprint.md) says why. `wasm`,
`webgpu` and `cuda` have the node too, but nothing was measured there, so that it has to be asked
for; NPUs and XNNPACK do not.

With it come other nodes. A rotation of queries or keys by their positions becomes one
`RotaryEmbedding`. An RMS norm is written so that onnxruntime makes one node of it at load, in
standard operators. `MatMulNBits` of the same input become one, split afterwards: queries, keys and
values, and the two products of gated layers. And on the CPU and in WASM attention that reads a
cache becomes `GroupQueryAttention`, which appends to the cache itself and reads shared keys and
values where they are. That node takes a mask since onnxruntime 1.21, and refuses one thing:
several new tokens of several texts after a cache. `--no-fuse` has neither limit.

What runs each of them: `tests/exporters/test_targets.py` exports for every target and runs the file
on the CPU provider, whose values all the others must have; `make test-browser` runs `wasm` and
`webgpu` in Chromium, `make test-providers` `xnnpack` and `qnn`. `cuda`, `nnapi` and `coreml` have
run nowhere yet: what they need is taken from onnxruntime's documentation.
"""


def page() -> str:
    """The page's text."""
    return PAGE.format(
        table="\n".join(_line(name, target) for name, target in TARGETS.items()),
        reasons="\n".join(f"- **{name}**: {target.why}" for name, target in TARGETS.items()),
    )


def _line(name: str, target: Target) -> str:
    cells = (
        name,
        target.decode,
        "float" if target.floats else "integer",
        "one node" if target.fuse else "as exported" if target.fusible else "never joined",
        target.head
        if target.step_head is None
        else f"{target.head}; {target.step_head} with a cache",
        ", ".join(target.weights),
        f"{', '.join(map(str, target.stock))} bits" if target.stock else "none",
        "int32" if target.int32 else "int64",
        "fixed (1 x 128 by default)" if target.static else "free",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    with write_aside(FILE) as aside:
        aside.write_text(page(), encoding="utf-8")
