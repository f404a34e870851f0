"""Any file as a packed table: it loads and rows can be looked up, or an error for users says no."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["toolkit"]):
    from toolkit.errors import LightTokenError
    from toolkit.table.embedding import CompressedEmbedding

import numpy as np
from safetensors.numpy import load, save

from tests.fuzz import seeds
from tests.fuzz.python.changes import CHANGED, change

FILE = Path(tempfile.mkdtemp()) / "table.lighttoken"
TYPES = (np.float32, np.int8, np.uint8, np.int32, np.float16, np.float64, np.int64, np.bool_)


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and record of a sound file."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    return load(content), json.loads(header["__metadata__"]["lighttoken"])


SOUND = [parts(content) for content in seeds.table_files().values()]


def changed_tensor(draw: atheris.FuzzedDataProvider, tensor: Any) -> Any:
    """The tensor as another type, in another shape, or with a few other bytes."""
    what = draw.ConsumeIntInRange(0, 2)
    if what == 0:
        return tensor.astype(TYPES[draw.ConsumeIntInRange(0, len(TYPES) - 1)])
    if what == 1:
        shape = [draw.ConsumeIntInRange(0, 9) for _ in range(draw.ConsumeIntInRange(0, 3))]
        return np.resize(tensor, shape)
    octets = bytearray(tensor.tobytes())
    for _ in range(min(draw.ConsumeIntInRange(1, 4), len(octets))):
        octets[draw.ConsumeIntInRange(0, len(octets) - 1)] = draw.ConsumeIntInRange(0, 255)
    return np.frombuffer(bytes(octets), tensor.dtype).reshape(tensor.shape)


def changed(draw: atheris.FuzzedDataProvider) -> bytes:
    """A sound table's file with a few other tensors, or another record."""
    tensors, record = SOUND[draw.ConsumeIntInRange(0, len(SOUND) - 1)]
    tensors, record = dict(tensors), json.loads(json.dumps(record))
    for _ in range(draw.ConsumeIntInRange(1, 3)):
        name = sorted(tensors)[draw.ConsumeIntInRange(0, len(tensors) - 1)]
        what = draw.ConsumeIntInRange(0, 6)
        if what == 0 and len(tensors) > 1:
            del tensors[name]
        elif what <= 3:
            tensors[name] = changed_tensor(draw, tensors[name])
        else:
            record = change(draw, record)
    held = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(held, metadata={"lighttoken": json.dumps(record)})


def look(content: bytes) -> None:
    if content[:1] == CHANGED:
        content = changed(atheris.FuzzedDataProvider(content[1:]))
    FILE.write_bytes(content)
    try:
        embedding = CompressedEmbedding.load(FILE)
        embedding.lookup([0, embedding.rows - 1])
    except LightTokenError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, look)
    atheris.Fuzz()
