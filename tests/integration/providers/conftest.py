"""What a bundle gives on another execution provider, in a process and an onnxruntime of its own."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from exporters import ExportOptions, export
from runtime import open_session
from toolkit import Budget, LightTokenConfig

SCRIPT = Path(__file__).with_name("run_model.py")
SEQUENCE = 16


@pytest.fixture(scope="module")
def run_target(minilm_folder, tmp_path_factory):
    """``run_target(target, python, **variables)``: values there, values on the CPU, and nodes.

    The real model, its table trained briefly: whether it runs is asked. ``python`` is the
    interpreter, ``variables`` are added to its environment; ``placed`` counts nodes:
    ``placed[provider][operator]``.
    """

    def run(target, python, **variables):
        work = tmp_path_factory.mktemp(target)
        options = ExportOptions(
            target=target,
            batch=1,
            sequence=SEQUENCE,
            config=LightTokenConfig(rounds=1),
            name="minilm",
        )
        export(str(minilm_folder), work / "bundle", Budget(ratio=25), options=options)
        session = open_session(work / "bundle", op=False)
        ids = np.random.default_rng(0).integers(1000, 30000, (1, SEQUENCE))
        mask = (np.arange(SEQUENCE) < SEQUENCE - 3)[None]
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        feeds = {info.name: given[info.name].astype(info.numpy_dtype) for info in session.inputs}
        np.savez(work / "feeds.npz", **feeds)
        log = work / "log"  # Debian's onnxruntime writes a thousand lines at each start
        with log.open("wb") as file:
            done = subprocess.run(
                [python, SCRIPT, target, session.path, work],
                env=os.environ | variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=300,
                check=False,
            )
        assert done.returncode == 0, log.read_text(errors="replace")[-2000:]
        with np.load(work / "outputs.npz") as outputs:
            values = dict(outputs)
        placed = json.loads((work / "placed.json").read_text())
        return SimpleNamespace(values=values, wanted=session.run(feeds), placed=placed)

    return run


@pytest.fixture(scope="session")
def assert_alike():
    """``assert_alike(found, limit)``: the values differ by at most that share of the largest."""

    def check(found, limit):
        assert found.values.keys() == found.wanted.keys()
        for name, wanted in found.wanted.items():
            assert np.abs(found.values[name] - wanted).max() <= limit * np.abs(wanted).max()

    return check
