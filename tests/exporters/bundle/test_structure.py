"""A bundle of either structure opens everywhere in this project, and is checked file by file."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from exporters import ExportOptions, export
from exporters.bundle.structure import STRUCTURES, check_structure, structure_of
from exporters.sources.source import LoadedModel, load_source
from runtime import open_pipeline, open_session
from toolkit.bundle.manifest import describe_files, read_manifest, verify_files
from toolkit.errors import FormatError, InputError

TEXTS = ["word3 word9", "word1", "word200 word7 word5"]


@pytest.fixture(scope="module")
def web(exported, quick, tmp_path_factory):
    """``exported`` again, in the structure of transformers.js."""
    out = tmp_path_factory.mktemp("web") / "bundle"
    options = quick(structure="transformers-js")
    export(str(exported.source), out, exported.budget, options=options)
    return out


def test_files_are_where_transformers_js_looks(web):
    names = {path.relative_to(web).as_posix() for path in web.rglob("*") if path.is_file()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {name for name in names if "model.onnx" in name} == {
        "onnx/model.onnx",
        "onnx/model.onnx_data",
    }
    assert {"README.md", "lighttoken.json"} <= names
    external = {
        value.const_value.location
        for value in ir.load(web / "onnx" / "model.onnx").graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    assert external == {"model.onnx_data"}


def test_the_config_tells_transformers_js_of_the_weights(web, exported):
    config = json.loads((web / "config.json").read_text())
    assert config.pop("transformers.js_config") == {
        "use_external_data_format": True,
        "dtype": "fp32",
    }
    assert config == json.loads((exported.source / "config.json").read_text())


def test_the_manifest_says_where_the_model_is(web, exported):
    manifest = read_manifest(web)
    assert manifest.model == "onnx/model.onnx"
    assert manifest.files == describe_files(web)
    verify_files(web, manifest)
    assert structure_of(manifest) is STRUCTURES["transformers-js"]
    assert structure_of(exported.manifest) is STRUCTURES["flat"]
    assert manifest.footprint == exported.manifest.footprint  # the structure costs nothing


def test_sessions_and_pipelines_open_it(web, exported):
    assert open_session(web).path == web / "onnx" / "model.onnx"
    np.testing.assert_array_equal(open_pipeline(web)(TEXTS), open_pipeline(exported.bundle)(TEXTS))


def test_a_model_file_of_it_finds_its_tokenizer_one_folder_up(web, tmp_path):
    loaded = load_source(str(web / "onnx" / "model.onnx"), tmp_path)
    assert loaded.folder == web
    assert "tokenizer.json" in loaded.facts.assets


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model.onnx_data", "tokenizer.json"])
def test_altered_files_are_found(web, tmp_path, name):
    folder = tmp_path / "copy"
    shutil.copytree(web, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError, match="was altered"):
        open_session(folder)
    (folder / name).unlink()
    with pytest.raises(FormatError, match="is missing"):
        open_session(folder)


def test_a_manifest_that_names_no_model_means_the_one_beside_it(exported, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(exported.bundle, folder)
    data = json.loads((folder / "lighttoken.json").read_text())
    del data["model"], data["pooled"], data["digest"]
    data["version"] = 1
    (folder / "lighttoken.json").write_text(json.dumps(data))
    assert open_session(folder).path == folder / "model.onnx"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_what_transformers_js_needs_must_be_there(exported, name):
    loaded = load_source(str(exported.bundle / "model.onnx"), exported.bundle)
    assets = tuple(asset for asset in loaded.facts.assets if asset != name)
    poorer = replace(loaded, facts=replace(loaded.facts, assets=assets))
    assert isinstance(poorer, LoadedModel)
    with pytest.raises(InputError, match=f"holds no {name}, which structure transformers-js needs"):
        check_structure("transformers-js", poorer)
    assert check_structure("flat", poorer) is STRUCTURES["flat"]


def test_a_folder_without_a_tokenizer_is_refused_before_the_work(tiny_folder, exported, tmp_path):
    with pytest.raises(InputError, match="choose --structure flat"):
        export(
            str(tiny_folder("BertModel")),
            tmp_path / "out",
            exported.budget,
            options=ExportOptions(structure="transformers-js"),
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_structure_is_refused():
    with pytest.raises(
        InputError, match="structure 'zip' is unknown; choose from flat, transformers"
    ):
        ExportOptions(structure="zip")


def test_what_a_source_said_of_its_own_files_is_not_kept(exported, quick, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(exported.source, source)
    config = json.loads((source / "config.json").read_text())
    config["transformers.js_config"] = {"dtype": "q4", "use_external_data_format": False}
    (source / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    export(str(source), out, exported.budget, options=quick(structure="transformers-js"))
    told = json.loads((out / "config.json").read_text())["transformers.js_config"]
    assert told == {"dtype": "fp32", "use_external_data_format": True}
