"""Two tiny models that are ONNX already, so that no cell waits for an exporter, and plans."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporters import ExportOptions, export
from toolkit import Budget, LightTokenConfig

TEXT = "a cat sleeps\nstocks fell the rain\nthe river naps a kitten\n"
BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json", "modules.json")


@pytest.fixture(scope="session")
def tiny_models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """``tiny_model`` in two .onnx files; the second reads shorter texts."""
    work = tmp_path_factory.mktemp("sweep")
    quick = ExportOptions(config=LightTokenConfig(rounds=1))
    export(str(tiny_model), work / "bundle", Budget(ratio=5), options=quick, keep_original=work)
    for name, limit in (("first", 32), ("second", 8)):
        folder = work / name
        shutil.copytree(work / "original", folder)
        shutil.copytree(tiny_model / "1_Pooling", folder / "1_Pooling")
        for file in BESIDE:
            shutil.copyfile(tiny_model / file, folder / file)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        changed = settings | {"model_max_length": limit}
        (folder / "tokenizer_config.json").write_text(json.dumps(changed))
        (folder / "model.onnx").rename(folder / f"{name}.onnx")
    return [str(work / name / f"{name}.onnx") for name in ("first", "second")]


@pytest.fixture
def plan(tmp_path: Path, tiny_models: list[str]) -> Callable[..., Path]:
    """``plan(ratio=[4], ...)``: a plan's file, of export options; others by ``models`` and
    ``evaluate``."""
    (tmp_path / "text.txt").write_text(TEXT * 9)

    def write(
        *, models: object = None, evaluate: object = ..., name: str = "plan.yaml", **export: object
    ) -> Path:
        usual = {"text": str(tmp_path / "text.txt"), "resamples": 20}
        data = {"models": models or tiny_models[:1], "export": {"effort": "fast"} | export}
        if evaluate is not None:
            data["evaluate"] = usual if evaluate is ... else evaluate
        path = tmp_path / name
        path.write_text(json.dumps(data))  # which is YAML too
        return path

    return write


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Settings of the cells that were run in this process."""
    from toolkit.cli.sweep import worker

    cells: list[dict[str, object]] = []
    real = worker.run_cell

    def note(cell, *given):
        cells.append(dict(cell.settings) | {"model": cell.model})
        return real(cell, *given)

    monkeypatch.setattr(worker, "run_cell", note)
    return cells
