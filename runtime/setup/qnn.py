"""Qualcomm's provider for its NPU, a plugin of onnxruntime, with an emulator of that NPU."""

import sys
from pathlib import Path

from .calls import call

VERSION = "2.7.0"


def fill(folder: Path) -> None:
    """Install onnxruntime-qnn into an empty folder, which then belongs on ``PYTHONPATH``.

    Raises:
        InputError: pip failed; there is no wheel for every system.
    """
    call(
        [
            *(sys.executable, "-P", "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
            *("--no-deps", "--target", folder, f"onnxruntime-qnn=={VERSION}"),
        ],
        f"pip cannot install onnxruntime-qnn {VERSION}; check the network, and whether there is "
        "a wheel for this system",
    )
