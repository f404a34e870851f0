"""Any file as a packed table: it loads and its rows can be looked up, or it is refused in a line."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["toolkit"]):
    from toolkit.errors import LightTokenError
    from toolkit.table.embedding import CompressedEmbedding

FILE = Path(tempfile.mkdtemp()) / "table.lighttoken"


def look(content: bytes) -> None:
    FILE.write_bytes(content)
    try:
        embedding = CompressedEmbedding.load(FILE)
        embedding.lookup([0, embedding.rows - 1])
    except LightTokenError as error:
        assert "\n" not in str(error), "more than a line"


if __name__ == "__main__":
    atheris.Setup(sys.argv, look)
    atheris.Fuzz()
