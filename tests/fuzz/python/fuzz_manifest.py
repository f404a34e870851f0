"""Any text as a bundle's manifest: it is read and written again, or refused in a line."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["toolkit"]):
    from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest
    from toolkit.errors import LightTokenError

FOLDER = Path(tempfile.mkdtemp())


def read(content: bytes) -> None:
    (FOLDER / MANIFEST_NAME).write_bytes(content)
    try:
        read_manifest(FOLDER).to_json()
    except LightTokenError as error:
        assert "\n" not in str(error), "more than a line"


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
