"""Inputs to start from: `python -m tests.fuzz.seeds FOLDER` writes a zip of them for each target.

Bytes of a fixed seed, of several lengths; what a target makes of them is its own. Python targets
start from small sound files.
"""

import random
import sys
import zipfile
from pathlib import Path

MOST_BYTES: dict[str, int] = {}
COUNT = 64


def of(target: str) -> dict[str, bytes]:
    """Names and contents."""
    draw = random.Random(target)
    return {f"seed-{i}": draw.randbytes(8 + 3 * i) for i in range(COUNT)}


def write(target: str, folder: Path) -> None:
    """As files of a corpus; those that are there stay."""
    for name, content in of(target).items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


def main() -> None:
    from tests.fuzz.run import native_targets, python_targets

    out = Path(sys.argv[1])
    for target in (*native_targets(), *python_targets()):
        with zipfile.ZipFile(out / f"{target}_seed_corpus.zip", "w") as file:
            for name, content in of(target).items():
                file.writestr(name, content)


if __name__ == "__main__":
    main()
