"""Any text as a manifest: it is read and written again, or an error for users says no."""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["toolkit"]):
    from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest
    from toolkit.errors import LightTokenError

from tests.fuzz import seeds
from tests.fuzz.python.changes import CHANGED, change

FOLDER = Path(tempfile.mkdtemp())
SOUND = list(seeds.manifests().values())


def changed(draw: atheris.FuzzedDataProvider) -> bytes:
    """A sound manifest with a few other values."""
    data = json.loads(SOUND[draw.ConsumeIntInRange(0, len(SOUND) - 1)])
    for _ in range(draw.ConsumeIntInRange(1, 3)):
        data = change(draw, data)
    return json.dumps(data).encode()


def read(content: bytes) -> None:
    if content[:1] == CHANGED:
        content = changed(atheris.FuzzedDataProvider(content[1:]))
    (FOLDER / MANIFEST_NAME).write_bytes(content)
    try:
        read_manifest(FOLDER).to_json()
    except LightTokenError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
