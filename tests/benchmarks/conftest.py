"""The benchmarks are scripts: their folder is put on the path, as running one does."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def gaussian_table():
    """Float32 [1500, 32]: a true Gaussian with a decaying spectrum and a mean."""
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.normal(size=(32, 32)))[0]
    rows = rng.normal(size=(1500, 32)) / np.sqrt(1 + np.arange(32))
    return (0.1 * (rows @ rotation + 0.3 * rng.normal(size=32))).astype(np.float32)
