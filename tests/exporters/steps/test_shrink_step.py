"""Weights that were made smaller to share out bytes are used, unless they were trained since."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from exporters import ExportOptions
from exporters.steps import shrink


@pytest.mark.parametrize(
    ("trained", "rounded", "expected"),
    [("source", [], "shared.onnx"), ("healed", [], "new.onnx"), ("source", ["w"], "new.onnx")],
)
def test_weights_that_were_trained_since_are_made_smaller_anew(
    monkeypatch, tmp_path, trained, rounded, expected
):
    monkeypatch.setattr(shrink, "model_inputs", lambda state: None)
    monkeypatch.setattr(
        shrink, "shrunk_to", lambda state, options, inputs, work, report=None: work / "new.onnx"
    )
    state = SimpleNamespace(
        options=ExportOptions(weights="int8"),
        not_here="",
        shrunk=Path("shared.onnx"),
        loaded="source",
        trained=trained,
        rounded=rounded,
        work=tmp_path,
        weights_path=Path("model.onnx"),
    )
    shrink.shrink(state, lambda share, what: None)
    assert state.weights_path.name == expected
