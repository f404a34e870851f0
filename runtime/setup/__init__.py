"""What measuring elsewhere needs and Python's packages lack: another onnxruntime, a browser's one.

Each lies in a folder of its own under :func:`home`; ``lighttoken setup NAME`` puts it there.
"""

import os
from pathlib import Path

from toolkit.files import user_cache

VARIABLE = "LIGHTTOKEN_HOME"


def home() -> Path:
    """The folder, whether or not it is there: of ``LIGHTTOKEN_HOME``, else of the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_cache()
