"""Hold an installed wheel's kernel to the table that it decodes: check_wheel.py

Needs the base installation and onnxscript, which writes the models that are run. Rows have to be
those of ``CompressedEmbedding.lookup`` to the bit, and logits near those of ``logits``.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

import lighttoken
from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from toolkit.table.components import CODEBOOK_PEAK, DenseDecoder, Stage

ROWS, WIDTH, LATENTS, VALUES = 700, 48, 96, 8  # VALUES to a byte
NEAR = 0.02  # of the logits' range, which two tables of eight bits for each byte leave


def random_table() -> lighttoken.CompressedEmbedding:
    """A table of random codes, with one stage."""
    rng = np.random.default_rng(0)

    def integers(peak: int, *shape: int) -> np.ndarray:
        return rng.integers(-peak, peak + 1, size=shape).astype(np.int8)

    scale = rng.uniform(0.001, 0.01, WIDTH).astype(np.float32)
    codes = rng.integers(0, 256, size=(ROWS, LATENTS // VALUES)).astype(np.uint8)
    decoder = DenseDecoder(integers(127, LATENTS, WIDTH), scale)
    stage = Stage(codes, decoder, integers(CODEBOOK_PEAK, 256, VALUES))
    mean = rng.normal(size=WIDTH).astype(np.float32)
    return lighttoken.CompressedEmbedding(ROWS, WIDTH, mean, (stage,))


def run(model: bytes, feed: np.ndarray, library: Path | None) -> np.ndarray:
    options = ort.SessionOptions()
    if library:
        options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})[0]


def main() -> int:
    library = lighttoken.get_library_path()
    if library is None:
        print("the wheel has no kernel", file=sys.stderr)
        return 1
    embedding = random_table()
    ids = np.random.default_rng(1).integers(0, ROWS, size=(3, 17))
    hidden = np.random.default_rng(2).normal(size=(2, 5, WIDTH)).astype(np.float32)
    logits = embedding.logits(hidden)
    for where in (Path(library), None):
        rows = run(decode_model(embedding).SerializeToString(), ids, where)
        np.testing.assert_array_equal(rows, embedding.lookup(ids))
        found = run(head_model(embedding).SerializeToString(), hidden, where)
        np.testing.assert_allclose(found, logits, rtol=0, atol=NEAR * np.ptp(logits))
        np.testing.assert_array_equal(found.argmax(-1), logits.argmax(-1))
    print(f"{Path(library).name}: rows and logits are the table's, with the kernel and without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
