"""Inputs to start from: `python -m tests.fuzz.seeds FOLDER` writes a zip for each target there.

Native targets start from bytes of a fixed seed, of several lengths: what a target makes of them is
its own. Python targets start from sound files.
"""

import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

COUNT = 64
Seeds = dict[str, bytes]


def drawn(target: str) -> Seeds:
    draw = random.Random(target)
    return {f"seed-{i}": draw.randbytes(8 + 3 * i) for i in range(COUNT)}


def table_files() -> Seeds:
    """Small packed tables: with every part, and with low rank factors."""
    import numpy as np

    from toolkit.table.components import (
        ColumnDecoder,
        DenseDecoder,
        Gain,
        LowRank,
        RowOrder,
        Stage,
        Zeros,
    )
    from toolkit.table.embedding import CompressedEmbedding

    ones = np.ones(4, np.float32)
    codes = np.arange(12, dtype=np.uint8).reshape(6, 2)
    book = (np.arange(512) % 64).astype(np.int8).reshape(256, 2)
    dense = Stage(codes, DenseDecoder(np.ones((3, 4), np.int8), ones), book)
    signs = Stage(codes[:3, :1], ColumnDecoder(ones), None)
    order = RowOrder(np.array([2, 0, 4], np.int32), 2)
    gain = Gain(np.zeros(5, np.uint8), np.ones(256, np.float32))
    zeros = Zeros.of(np.arange(6) == 1)
    low = LowRank(np.ones((6, 2), np.int8), np.ones((2, 4), np.int8), np.ones(2, np.float32))
    whole = CompressedEmbedding(6, 4, ones, (dense, signs), None, order, gain, ones, zeros)
    plain = CompressedEmbedding(6, 4, ones, (signs,), low)
    return {"whole": whole.to_bytes(), "plain": plain.to_bytes()}


def manifests() -> Seeds:
    from toolkit.bundle.manifest import (
        Footprint,
        FurtherModel,
        Healed,
        Manifest,
        Parity,
        Pooling,
        Source,
        StoredFile,
        StoredHead,
    )

    head = StoredHead("h", 6, 4, 9, 96, 96, "float", {"codes": 6}, 0.5)
    parity = Parity(0.0, 1e-6, 0.1)
    plain = Manifest(
        source=Source("model", "hub", "00"),
        task="fill-mask",
        exporter="dynamo",
        decode="graph",
        opset=18,
        rows=6,
        width=4,
        table="t",
        ids_input="ids",
        tied_head=False,
        method="lighttoken",
        seed=0,
        footprint=Footprint(2.0, 16.0, 48, 96, 500, 600, {"codes": 12}),
        parity=parity,
        files={name: StoredFile(500, "00" * 32) for name in ("model.onnx", "b.onnx")},
    )
    further = FurtherModel("b.onnx", (), 5, 6, parity, (head,))
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    more = {"pooling": Pooling(), "healed": Healed(1, 0.5, 0.4, 9), "heads": (head,)}
    whole = Manifest(**{**fields, **more, "further": (further,), "made_with": {"numpy": "2"}})
    return {"plain": plain.to_json().encode(), "whole": whole.to_json().encode()}


_FILES: dict[str, Callable[[], Seeds]] = {
    "fuzz_table_file": table_files,
    "fuzz_manifest": manifests,
}
MOST_BYTES = {"fuzz_table_file": 4096, "fuzz_manifest": 4096}  # of an input, where not 256


def of(target: str) -> Seeds:
    """Names and contents. Python targets take changes to a sound file too, after a byte 255."""
    if target not in _FILES:
        return drawn(target)
    changes = {name: b"\xff" + content for name, content in drawn(target).items()}
    return _FILES[target]() | changes


def write(target: str, folder: Path) -> None:
    """As files of a corpus; those that are there stay."""
    for name, content in of(target).items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


def write_zips(out: Path) -> None:
    """As OSS-Fuzz takes them, TARGET_seed_corpus.zip, beside each target that is in ``out``."""
    for target in sorted(path.name for path in out.glob("fuzz_*") if not path.suffix):
        with zipfile.ZipFile(out / f"{target}_seed_corpus.zip", "w") as file:
            for name, content in of(target).items():
                file.writestr(name, content)


if __name__ == "__main__":
    write_zips(Path(sys.argv[1]))
