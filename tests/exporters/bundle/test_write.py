"""The bundle's folder is complete and described to the byte."""

import shutil

import numpy as np
import onnx_ir as ir

from exporters.bundle.write import write_bundle
from exporters.sources.facts import read_facts
from exporters.sources.source import LoadedModel
from toolkit.bundle.manifest import read_manifest, verify_files
from toolkit.files import sha256
from toolkit.graph.files import model_nbytes


def test_assets_keep_their_place_and_their_bytes(exported):
    for name in read_facts(exported.source).assets:
        assert (exported.bundle / name).read_bytes() == (exported.source / name).read_bytes()


def test_the_manifest_comes_back_complete(exported, tmp_path):
    for name in ("model.onnx", "model.onnx.data"):
        if (exported.bundle / name).is_file():
            shutil.copy(exported.bundle / name, tmp_path)
    facts = read_facts(exported.source)
    source = exported.manifest.source
    loaded = LoadedModel(exported.original, exported.source, facts, source, "dynamo")
    complete = write_bundle(tmp_path, loaded, exported.manifest)
    assert {"model.onnx", "README.md", *facts.assets} <= set(complete.files)
    assert complete.files["model.onnx"].sha256 == sha256(tmp_path / "model.onnx")
    assert read_manifest(tmp_path) == complete
    verify_files(tmp_path, complete)


def test_files_of_a_bundle_are_readable_by_everyone(exported):
    for path in exported.bundle.rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_a_models_bytes_are_those_of_all_its_files(graph, tmp_path):
    signature = "(int64[b] ids) => (float[b,9] y)"
    body, table = "y = Gather(t, ids)", np.ones((100, 9), np.float32)
    ir.save(graph(signature, body, t=table), tmp_path / "one.onnx")
    ir.save(graph(signature, body, t=table), tmp_path / "two.onnx", external_data="two.data")
    (tmp_path / "other.data").write_bytes(b"of another model")
    assert model_nbytes(tmp_path / "one.onnx") == (tmp_path / "one.onnx").stat().st_size
    both = [tmp_path / "two.onnx", tmp_path / "two.data"]
    assert model_nbytes(both[0]) == sum(path.stat().st_size for path in both)
