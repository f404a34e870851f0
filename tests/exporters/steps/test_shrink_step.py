"""Weights that were made smaller to share out bytes are used, unless they were trained since."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from exporters import ExportOptions
from exporters.steps import shrink


@pytest.mark.parametrize(("healed", "expected"), [(None, "shared.onnx"), ("healed", "new.onnx")])
def test_weights_that_were_trained_since_are_made_smaller_anew(
    monkeypatch, tmp_path, healed, expected
):
    monkeypatch.setattr(shrink, "model_inputs", lambda state: None)
    monkeypatch.setattr(
        shrink, "shrunk_to", lambda state, options, inputs, work, report=None: work / "new.onnx"
    )
    state = SimpleNamespace(
        options=ExportOptions(weights="int8"),
        not_here="",
        shrunk=Path("shared.onnx"),
        healed=healed,
        work=tmp_path,
        weights_path=Path("model.onnx"),
    )
    shrink.shrink(state, lambda share, what: None)
    assert state.weights_path.name == expected
