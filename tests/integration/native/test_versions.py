"""The library in other versions of onnxruntime: the same results, to the bit.

They lie in build/onnxruntimes, where `make test-versions` puts them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "build" / "onnxruntimes"
VERSIONS = sorted(path.name for path in FOLDER.glob("[0-9]*"))


def check(library, models, folder=None):
    """What library_check.py prints: its onnxruntime is that of the folder, or the installed one."""
    done = subprocess.run(
        [sys.executable, HERE / "library_check.py", library, *models],
        env=os.environ | ({"PYTHONPATH": str(folder)} if folder else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not VERSIONS, reason=f"no onnxruntime in {FOLDER}: make test-versions")
@pytest.mark.parametrize("version", VERSIONS or ["none"])
def test_other_versions_give_the_same(library, layer_models, version):
    version_of = "import onnxruntime; print(onnxruntime.__version__)"
    folder = FOLDER / version
    said = subprocess.run(
        [sys.executable, "-c", version_of],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == version
    assert check(library, layer_models, folder) == check(library, layer_models)
