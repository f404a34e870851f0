import json
import subprocess
import sys
from pathlib import Path

import pytest

import runtime


@pytest.mark.parametrize("name", runtime.__all__)
def test_public_names_are_there(name):
    assert getattr(runtime, name) is not None


def test_unknown_name():
    with pytest.raises(AttributeError, match="'nothing'"):
        runtime.nothing  # noqa: B018


def test_the_measuring_process_stays_small():
    code = (
        "import runtime.profile.measure.worker, json, sys; print(json.dumps(sorted(sys.modules)))"
    )
    root = Path(runtime.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root)
    heavy = {"torch", "scipy", "onnx", "transformers", "tokenizers", "rich", "exporters"}
    assert not heavy & set(json.loads(done.stdout))
