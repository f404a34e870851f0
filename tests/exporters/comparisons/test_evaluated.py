"""What a model is for, said before anything is exported."""

import shutil
from pathlib import Path

import pytest

from exporters.comparisons.evaluated import task_of_source
from exporters.sources import to_onnx
from toolkit.errors import InputError


@pytest.fixture(autouse=True)
def no_exporter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(to_onnx, "export_onnx", None)


def test_of_a_folder_a_file_and_a_folder_of_files(tiny_folder, exported, decoder_file, tmp_path):
    assert task_of_source(str(tiny_folder("GPT2LMHeadModel")), tmp_path) == "text-generation"
    assert task_of_source(str(decoder_file), tmp_path) == "text-generation"
    shutil.copytree(exported.original.parent, tmp_path / "folder")
    shutil.copy(exported.source / "config.json", tmp_path / "folder")
    assert task_of_source(str(tmp_path / "folder"), tmp_path) == "feature-extraction"


def test_of_nothing(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.onnx is not here; give"):
        task_of_source(str(tmp_path / "none.onnx"), tmp_path)
