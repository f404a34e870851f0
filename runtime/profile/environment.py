"""Where figures were taken."""

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil  # type: ignore[import-untyped,unused-ignore]


@dataclass(frozen=True)
class Environment:
    """A machine and what runs on it; empty or 0 where it does not tell."""

    system: str
    machine: str
    cores: int
    memory_bytes: int
    python: str = ""
    numpy: str = ""
    onnxruntime: str = ""

    @classmethod
    def here(cls) -> "Environment":
        """This machine."""
        return cls(
            system=platform.platform(),
            machine=_processor(),
            cores=psutil.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            python=platform.python_version(),
            numpy=np.__version__,
            onnxruntime=onnxruntime.__version__,
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
