"""What measuring elsewhere needs and Python's packages lack: another onnxruntime, a browser's one.

Each lies in a folder of its own under :func:`home`; ``lighttoken setup NAME`` puts it there.
"""

import os
from pathlib import Path

VARIABLE = "LIGHTTOKEN_HOME"


def home() -> Path:
    """The folder, whether or not it is there: of ``LIGHTTOKEN_HOME``, else of the user's cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lighttoken"
